"""The floor: bytes of the file up in creates, result lines down into a file, nothing between. No store, no retry, no order."""

from __future__ import annotations

import http.client
import os
import re
import sys
import time
from collections.abc import Iterator
from itertools import islice
from urllib.parse import urlsplit

SIZE = 10_000
PIECE = 1 << 18
HEADERS = {"anthropic-version": "2026-10-21", "x-api-key": "bench"}
BATCHES = "/v1/messages/batches"


def main(source: str, output: str) -> None:
    api = http.client.HTTPConnection(urlsplit(os.environ["ANTHROPIC_BASE_URL"]).netloc)
    with open(source, "rb") as file:  # noqa: PTH123
        batches = [create(api, lines) for lines in iter(lambda: list(islice(file, SIZE)), [])]
    with open(output, "wb") as out:  # noqa: PTH123
        for batch in batches:
            while b'"ended"' not in call(api, "GET", f"{BATCHES}/{batch}"):
                time.sleep(0.5)
            api.request("GET", f"{BATCHES}/{batch}/results", headers=HEADERS)
            answer = api.getresponse()
            while piece := answer.read(PIECE):
                out.write(piece)


def create(api: http.client.HTTPConnection, lines: list[bytes]) -> str:
    length = len('{"requests":[]}') + sum(map(len, lines)) - 1  # each newline becomes a comma, but the last
    headers = {**HEADERS, "content-type": "application/json", "content-length": str(length)}
    answer = call(api, "POST", BATCHES, body(lines), headers)
    return re.search(rb'"id":"([^"]+)"', answer)[1].decode()


def body(lines: list[bytes]) -> Iterator[bytes]:
    yield b'{"requests":['
    for start in range(0, len(lines), 500):
        yield b",".join(line[:-1] for line in lines[start : start + 500]) + (b"," if start + 500 < len(lines) else b"")
    yield b"]}"


def call(api: http.client.HTTPConnection, method: str, path: str, content=None, headers=None) -> bytes:
    api.request(method, path, content, headers or HEADERS)
    answer = api.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:200]!r}")
    return text


if __name__ == "__main__":
    main(*sys.argv[1:3])
