"""Holds a WebSocket to the URL given: says what it is told, line by line, and prints what it hears."""

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def say(socket):
    for line in sys.stdin:
        socket.send(line.strip())
    socket.close()


with connect(sys.argv[1], ping_interval=None) as socket:
    print("open", flush=True)
    threading.Thread(target=say, args=(socket,), daemon=True).start()
    try:
        while True:
            print("heard", socket.recv(), flush=True)
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code if closed.rcvd else None, flush=True)
