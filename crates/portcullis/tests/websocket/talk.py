"""Talks to the echo behind the address given in several ways, through TLS if an authority is given as well, and
prints what came: one line each."""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


async def talk(url, options):
    async with connect(f"{url}/chat", **options) as socket:
        print("protocol", socket.subprotocol)
        print("compressed", [extension.name for extension in socket.protocol.extensions])
        await socket.send("hello")
        print("text", await socket.recv())
        large = os.urandom(3_000_000)
        await socket.send(large)
        print("large", await socket.recv() == large)
        await socket.send(iter(["in ", "three ", "parts"]))
        print("parts", await socket.recv())
        for number in range(1000):
            await socket.send(str(number))
        print("many", [await socket.recv() for _ in range(1000)] == [str(number) for number in range(1000)])
        async with asyncio.timeout(10):
            await (await socket.ping())
        print("pong True")
    print("closed", socket.close_code)
    try:
        await connect(f"{url}/plain", **options)
    except InvalidStatus as refused:
        print("plain", refused.response.status_code)


# One thread, not the library's synchronous client: that one reads and writes a TLS connection in two threads at once,
# and now and then loses what it sends.
scheme, options = "ws", {"subprotocols": ["echo.v1", "other"], "max_size": None, "ping_interval": None}
if len(sys.argv) > 2:
    scheme = "wss"
    options |= {"ssl": ssl.create_default_context(cafile=sys.argv[2]), "server_hostname": "shop.example"}
asyncio.run(talk(f"{scheme}://{sys.argv[1]}", options))
