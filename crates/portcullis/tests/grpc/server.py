"""A gRPC service without generated code: messages are bytes. Prints its port, then serves."""

import time
from concurrent import futures

import grpc


def get(request, context):
    context.set_trailing_metadata((("x-after", "trailer"),))
    told = dict(context.invocation_metadata())
    return request + b"|" + told.get("x-before", "").encode()


def chat(requests, context):
    for message in requests:
        yield message.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def left(request, context):
    return str(context.time_remaining() or 0).encode()


def slow(request, context):
    for _ in range(200):
        if not context.is_active():
            break
        time.sleep(0.05)
    return b"late"


unary = grpc.unary_unary_rpc_method_handler
service = grpc.method_handlers_generic_handler(
    "shop.Orders",
    {
        "Get": unary(get),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": unary(fail),
        "Left": unary(left),
        "Slow": unary(slow),
    },
)
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((service,))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
