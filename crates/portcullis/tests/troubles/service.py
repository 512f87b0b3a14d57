"""A service as a process of its own, well or in some kind of trouble: service.py MODE PORT.

Prints its port once it listens.
"""

import socket
import struct
import sys
import threading
import time

MODE, PORT = sys.argv[1], int(sys.argv[2])
WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer"


def requests(connection):
    """True for each whole head that comes; requests have no bodies here."""
    read = b""
    while True:
        while b"\r\n\r\n" not in read:
            more = connection.recv(65536)
            if not more:
                return
            read += more
        read = read.split(b"\r\n\r\n", 1)[1]
        yield True


def serve(connection):
    with connection:
        for _ in requests(connection):
            if MODE == "well":
                connection.sendall(WELL)
            elif MODE == "busy":
                connection.sendall(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")
            elif MODE == "garbage":
                connection.sendall(b"\x16\x03\x01 what is this?\r\n\r\n")
            elif MODE == "silent":
                time.sleep(3600)
            elif MODE == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            elif MODE == "breaks-off":
                connection.sendall(WELL[:-3])
                return
            elif MODE == "drips":
                for byte in WELL:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.01)
            elif MODE == "stalls":
                connection.sendall(WELL[:-3])
                time.sleep(3600)


def ignore_errors(connection):
    try:
        serve(connection)
    except OSError:
        pass


server = socket.create_server(("127.0.0.1", PORT), backlog=512)
print(server.getsockname()[1], flush=True)
while True:
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=ignore_errors, args=(peer,), daemon=True).start()
