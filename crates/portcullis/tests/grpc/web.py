"""Calls the service at the address given as a browser's program does (gRPC-Web), over HTTP/1.1 and HTTP/2,
binary and as text; prints what came."""

import base64
import struct
import sys

import httpx


def framed(message):
    return struct.pack(">BI", 0, len(message)) + message


def frames(body):
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        yield flag, body[5 : 5 + length]
        body = body[5 + length :]


def pieces(text):
    """Each piece of a text may end with its own padding."""
    for start in range(0, len(text), 4):
        yield base64.b64decode(text[start : start + 4])


def show(name, answer):
    kind = answer.headers.get("content-type")
    body = answer.content
    if kind.startswith("application/grpc-web-text"):
        body = b"".join(pieces(body))
    told = [(flag, data.decode().replace("\r\n", ";")) for flag, data in frames(body)]
    head = answer.headers.get("grpc-status"), answer.headers.get("grpc-message")
    print(name, answer.status_code, kind, *told, *[one for one in head if one])


for version, client in (
    (1, httpx.Client()),
    (2, httpx.Client(http1=False, http2=True)),
):
    url = f"http://{sys.argv[1]}/shop.Orders/"
    binary = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "x-before": "web"}
    text = {"content-type": "application/grpc-web-text", "x-grpc-web": "1"}
    show(f"binary {version}", client.post(url + "Get", content=framed(b"hello"), headers=binary))
    encoded = base64.b64encode(framed(b"he"))
    show(f"text {version}", client.post(url + "Get", content=encoded, headers=text))
    in_two = base64.b64encode(framed(b"hello")[:4]) + base64.b64encode(framed(b"hello")[4:])
    show(f"padded {version}", client.post(url + "Get", content=in_two, headers=text))
    late = base64.b64encode(framed(b"ABORTED"))
    show(f"fail {version}", client.post(url + "Fail", content=framed(b""), headers=binary))
    show(f"late {version}", client.post(url + "Late", content=late, headers=text))
    show(f"refused {version}", client.post(url + "Secret", content=framed(b""), headers=text))
    show(f"garbled {version}", client.post(url + "Get", content=b"!!!!", headers=text))
