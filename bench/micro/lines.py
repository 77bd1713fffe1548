"""Result lines a second, from bytes in memory: cut and decoded by us, made into rows by us, decoded by the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx2
import orjson

from bakehouse_worker import result_line, wire
from bakehouse_worker.remote import lines
from bench.emulator import ANSWER
from bench.inputs import MODEL
from bench.micro import Row, rate
from bench.micro.world import timed

CHUNK = 262_144


def line(number: int) -> bytes:
    usage = {"input_tokens": 220, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 50}
    message = {
        "id": f"msg_01{number:022d}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {**usage, "service_tier": "batch"},
    }
    custom_id = f"{wire.prefix('0' * 8, '0' * 16)}{number}-0"
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}) + b"\n"


def measure(records: int, home: Path) -> Iterator[Row]:
    content = b"".join(map(line, range(records)))
    pieces = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    told = f"{len(content) // records} bytes a line"

    def decode() -> None:
        for each in lines(iter(pieces)):
            orjson.loads(each)

    whose = wire.members("0" * 8, "0" * 16)

    def rows() -> None:
        for each in lines(iter(pieces)):
            result_line.row(each, 1, 0.0, whose)

    def sdk() -> None:
        batch = {"id": "b", "results_url": "http://bench/results"}

        def answer(request: httpx2.Request) -> httpx2.Response:
            return (
                httpx2.Response(200, content=content)
                if request.url.path == "/results"
                else httpx2.Response(200, json=batch)
            )

        http = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
        client = anthropic.Anthropic(api_key="k", base_url="http://bench", http_client=http)
        assert sum(1 for _ in client.messages.batches.results("b")) == records

    slow = timed(sdk)
    for name, do in (("cut and decoded by us", decode), ("cut, decoded and made into store rows by us", rows)):
        fast = timed(do)
        yield f"result lines {name}", rate(records, fast), f"{slow / fast:.1f} x the SDK; {told}"
    yield "result lines by the SDK's own iterator", rate(records, slow), told
