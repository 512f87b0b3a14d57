"""A gRPC service without generated code: messages are bytes. Prints its port, then serves."""

import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

state = health.HealthServicer()


def get(request, context):
    context.set_trailing_metadata((("x-after", "trailer"),))
    told = dict(context.invocation_metadata())
    return request + b"|" + told.get("x-before", "").encode()


def chat(requests, context):
    for message in requests:
        yield message.upper()


def fail(request, context):
    context.abort(getattr(grpc.StatusCode, request.decode() or "UNAVAILABLE"), "not now")


def late(request, context):
    """Fails behind its head, before any message."""
    context.send_initial_metadata((("x-head", "1"),))
    context.abort(getattr(grpc.StatusCode, request.decode()), "not any more")


def broken(request, context):
    """Fails behind its first message."""
    yield b"one"
    context.abort(grpc.StatusCode.UNAVAILABLE, "not any more")


def left(request, context):
    return str(context.time_remaining() or 0).encode()


def slow(request, context):
    for _ in range(200):
        if not context.is_active():
            break
        time.sleep(0.05)
    return b"late"


def many(request, context):
    """More than anybody reads."""
    for _ in range(100_000):
        yield bytes(16 * 1024)


def feel(request, context):
    state.set("shop.Orders", getattr(health_pb2.HealthCheckResponse, request.decode()))
    return b""


unary = grpc.unary_unary_rpc_method_handler
stream = grpc.unary_stream_rpc_method_handler
service = grpc.method_handlers_generic_handler(
    "shop.Orders",
    {
        "Get": unary(get),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": unary(fail),
        "Late": unary(late),
        "Broken": stream(broken),
        "Left": unary(left),
        "Slow": unary(slow),
        "Many": stream(many),
    },
)
admin = grpc.method_handlers_generic_handler("shop.Admin", {"Feel": unary(feel)})
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((service, admin))
health_pb2_grpc.add_HealthServicer_to_server(state, server)
state.set("shop.Orders", health_pb2.HealthCheckResponse.SERVING)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
