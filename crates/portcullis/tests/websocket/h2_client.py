"""A WebSocket over HTTP/2 (RFC 8441) to the address given, frame by frame; prints what came."""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

host, port = sys.argv[1].split(":")
wire = socket.create_connection((host, int(port)), timeout=10)
http = h2.connection.H2Connection(config=h2.config.H2Configuration(header_encoding="utf-8"))
http.initiate_connection()
heard = {}


def flush():
    wire.sendall(http.data_to_send())


def pump(until):
    """Reads until this holds."""
    while not until():
        for event in http.receive_data(wire.recv(65536)):
            stream = heard.setdefault(getattr(event, "stream_id", 0), {"data": b""})
            if isinstance(event, h2.events.RemoteSettingsChanged):
                changed = event.changed_settings
                known = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
                stream["connect"] = known in changed and changed[known].new_value
            elif isinstance(event, h2.events.ResponseReceived):
                stream["head"] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                stream["data"] += event.data
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                stream["ended"] = type(event).__name__
        flush()


def ask(path, protocol="websocket"):
    stream = http.get_next_available_stream_id()
    pseudo = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http")]
    rest = [(":path", path), (":authority", sys.argv[1]), ("sec-websocket-version", "13")]
    http.send_headers(stream, pseudo + rest + [("sec-websocket-protocol", "echo.v1")])
    flush()
    pump(lambda: "head" in heard.get(stream, {}))
    return stream, heard[stream]


def masked(opcode, text):
    length = len(text)
    head = bytes([0x80 | opcode, 0x80 | min(length, 126)])
    return head + (length.to_bytes(2, "big") if length > 125 else b"") + bytes(4) + text


flush()
pump(lambda: "connect" in heard.get(0, {}))
print("connect", heard[0]["connect"])

stream, got = ask("/chat")
head = got["head"]
print("head", head[":status"], head.get("sec-websocket-protocol"), head.get("sec-websocket-accept"))
http.send_data(stream, masked(1, b"hello") + masked(2, b"x" * 1000))
flush()
pump(lambda: len(got["data"]) >= 7 + 1004)
print("heard", got["data"][:7], got["data"][7:] == b"\x82\x7e\x03\xe8" + b"x" * 1000)

other, second = ask("/chat")
http.send_data(other, masked(1, b"beside"))
flush()
pump(lambda: len(second["data"]) >= 8)
print("beside", second["data"])

http.send_data(stream, masked(8, b"\x03\xe8"))
flush()
pump(lambda: "ended" in got)
print("closed", got["data"][-4:], got["ended"])

print("plain", ask("/plain")[1]["head"][":status"])
print("fixed", ask("/fixed")[1]["head"][":status"])
print("unknown", ask("/chat", "connect-udp")[1]["head"][":status"])
