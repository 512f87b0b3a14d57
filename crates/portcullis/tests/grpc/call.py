"""Calls methods of the service at the address given: `/PATH MESSAGE [NAME=VALUE ...]` a line; prints how
each ended, and what for."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
for line in sys.stdin:
    path, message, *metadata = line.split()
    call = channel.unary_stream(path)
    answers = call(
        message.strip("-").encode(),
        metadata=tuple(tuple(one.split("=")) for one in metadata),
        timeout=10,
    )
    heard = []
    try:
        for answer in answers:
            heard.append(answer.decode())
        print(path, "OK", *heard, flush=True)
    except grpc.RpcError as error:
        told = dict(error.trailing_metadata() or ()).get("retry-after", "")
        print(path, error.code().name, error.details(), *heard, told, flush=True)
