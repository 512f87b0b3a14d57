"""Asks the gateway of the example in several ways, and prints what it is told."""

import json
import sys

import grpc

KEY = (("x-api-key", "pck_example_do-not-use-this-one"),)
channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")


def written(message):
    return json.dumps(message).encode()


def ask(method, message, metadata=()):
    call = channel.unary_unary(method, written, json.loads)
    try:
        told = json.dumps(call(message, metadata=metadata, timeout=10))
    except grpc.RpcError as error:
        told = f"{error.code().name}: {error.details()}"
    print(f"{method} {told}")


book = {"product": "book", "quantity": 2}
ask("/shop.Orders/Create", book)
for _ in range(4):
    ask("/shop.Orders/Create", dict(book), KEY)
ask("/shop.Orders/Get", {"id": "o-2"})
ask("/shop.Orders/Get", {"id": "o-9"})
ask("/shop.Users/Get", {"id": "u-1"})
watch = channel.unary_stream("/shop.Orders/Watch", written, json.loads)
print("/shop.Orders/Watch", [order["id"] for order in watch({}, timeout=10)])
