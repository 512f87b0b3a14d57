"""A WebSocket service that says again what it hears; through TLS, if a certificate and its key are given. Prints its
port, and the code of each close."""

import asyncio
import logging
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(client):
    try:
        while True:
            await client.send(await client.recv())
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code if closed.rcvd else None, flush=True)


async def main():
    chosen = lambda _, offered: "echo.v1" if "echo.v1" in offered else None
    options = {"select_subprotocol": chosen, "max_size": None, "ping_interval": None}
    if len(sys.argv) > 1:
        options["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options["ssl"].load_cert_chain(*sys.argv[1:])
    async with serve(echo, "127.0.0.1", 0, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


logging.disable()  # refused handshakes are a part of the tests
asyncio.run(main())
