"""Talks to the echo behind the address given in several ways, through TLS if an authority is given as well, and
prints what came: one line each."""

import os
import ssl
import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

host = sys.argv[1]
options = {"subprotocols": ["echo.v1", "other"], "max_size": None, "ping_interval": None}
scheme = "ws"
if len(sys.argv) > 2:
    scheme = "wss"
    options["ssl"] = ssl.create_default_context(cafile=sys.argv[2])
    options["server_hostname"] = "shop.example"
with connect(f"{scheme}://{host}/chat", **options) as socket:
    print("protocol", socket.subprotocol)
    print("compressed", [extension.name for extension in socket.protocol.extensions])
    socket.send("hello")
    print("text", socket.recv())
    large = os.urandom(3_000_000)
    socket.send(large)
    print("large", socket.recv() == large)
    socket.send(iter(["in ", "three ", "parts"]))
    print("parts", socket.recv())
    for number in range(1000):
        socket.send(str(number))
    print("many", [socket.recv() for _ in range(1000)] == [str(number) for number in range(1000)])
    print("pong", socket.ping().wait(10))
print("closed", socket.close_code)

try:
    connect(f"{scheme}://{host}/plain", **options)
except InvalidStatus as refused:
    print("plain", refused.response.status_code)
