"""Listens to the events at the URL given, over HTTP/1.1 or 2, and prints each line as it comes."""

import sys

import httpx

url, version = sys.argv[1:]
with httpx.Client(http1=version == "1", http2=version == "2", timeout=None) as client:
    with client.stream("GET", url, headers={"accept": "text/event-stream"}) as answer:
        print(answer.http_version, answer.status_code, answer.headers["content-type"], flush=True)
        for line in answer.iter_lines():
            if line:
                print(line, flush=True)
print("end", flush=True)
