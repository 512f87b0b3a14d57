"""The example's service: orders, kept in memory. Messages are JSON, so that nothing has to be generated."""

import json
import os
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

NAME = "shop.Orders"
orders = {}


def create(order, context):
    order["id"] = f"o-{len(orders) + 1}"
    orders[order["id"]] = order
    return order


def get(wanted, context):
    if wanted["id"] not in orders:
        context.abort(grpc.StatusCode.NOT_FOUND, "there is no such order")
    return orders[wanted["id"]]


def watch(wanted, context):
    yield from orders.values()


def written(message):
    return json.dumps(message).encode()


def served(make, act):
    return make(act, request_deserializer=json.loads, response_serializer=written)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
methods = {
    "Create": served(grpc.unary_unary_rpc_method_handler, create),
    "Get": served(grpc.unary_unary_rpc_method_handler, get),
    "Watch": served(grpc.unary_stream_rpc_method_handler, watch),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, methods),))
state = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(state, server)
state.set(NAME, health_pb2.HealthCheckResponse.SERVING)
port = server.add_insecure_port(f"127.0.0.1:{os.environ.get('ORDERS_PORT', '50051')}")
server.start()
print(port, flush=True)
server.wait_for_termination()
