"""Calls the service at the address given, in several ways, and prints what came: one line each."""

import queue
import sys
import grpc

channel = grpc.insecure_channel(sys.argv[1])
call = lambda name: channel.unary_unary("/shop.Orders/" + name)

answer, told = call("Get").with_call(b"hello", metadata=(("x-before", "header"),), timeout=10)
print("get", answer.decode(), dict(told.trailing_metadata()).get("x-after"))

# One message goes out only after the answer to the one before has come.
said = queue.Queue()
answers = channel.stream_stream("/shop.Orders/Chat")(iter(said.get, None), timeout=10)
heard = []
for word in (b"one", b"two", b"three"):
    said.put(word)
    heard.append(next(answers).decode())
said.put(None)
print("chat", ",".join(heard), list(answers))

large = bytes(range(256)) * 4096 * 3
echoed = b"".join(channel.stream_stream("/shop.Orders/Chat")(iter([large] * 4), timeout=30))
print("large", echoed == large.upper() * 4)

left = float(call("Left")(b"", timeout=5))
print("left", 1.0 < left < 5.5 or left)  # gRPC rounds up

for name, timeout in (("Fail", 10), ("Slow", 0.3)):
    try:
        call(name)(b"", timeout=timeout)
    except grpc.RpcError as error:
        print(name.lower(), error.code().name)

print("many", len([call("Get").future(b"x", timeout=10).result() for _ in range(200)]))

# One answer that nobody reads holds up no other one, although they share the gateway's connection.
unread = [channel.unary_stream("/shop.Orders/Many")(b"", timeout=30) for _ in range(4)]
heads = [dict(answer.initial_metadata()) for answer in unread]
print("beside", [call("Get")(b"x", timeout=10) for _ in range(3)] == [b"x|"] * 3)
for answer in unread:
    answer.cancel()
