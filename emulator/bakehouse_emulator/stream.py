"""Result lines on their way out, whole or damaged as a rule wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bakehouse_emulator.script import Rule
from bakehouse_emulator.wire import TRANSPORT, cut, gone

CHUNK = 1 << 16  # bytes gathered before they are sent
UNKNOWN = b'{"custom_id":"nobody-asked-for-this","result":{"type":"canceled"}}\n'


class ResultStream(Response):
    """Sends lines in chunks of at least 64 KiB. Memory does not grow with their number."""

    media_type = "application/x-jsonl"

    def __init__(self, lines: Iterator[bytes], rule: Rule | None) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = damaged(lines, rule) if rule else lines
        self._ending = ending(rule)
        self._pause = rule.seconds if rule and rule.fault == "slow_stream" else 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        transport = scope["extensions"][TRANSPORT]["transport"]
        gathered, size = [], 0
        for line in self._lines:
            gathered.append(line)
            size += len(line)
            if size >= CHUNK:
                await send({"type": "http.response.body", "body": b"".join(gathered), "more_body": True})
                gathered, size = [], 0
                await asyncio.sleep(self._pause)
                if transport.is_closing():
                    return
        await send({"type": "http.response.body", "body": b"".join(gathered), "more_body": self._ending != "clean"})
        if self._ending != "clean":
            cut(scope, reset=self._ending == "reset")
            await gone(receive)


def ending(rule: Rule | None) -> str:
    """How the stream ends: `clean`, `close` or `reset`."""
    if rule is None or not (rule.fault.startswith("cut") or rule.fault == "reset"):
        return "clean"
    return "reset" if rule.fault == "reset" else rule.ending


def damaged(lines: Iterator[bytes], rule: Rule) -> Iterator[bytes]:
    """The lines with one thing wrong after the first `rule.lines` of them."""
    yield from islice(lines, rule.lines)
    line = next(lines, b"")
    match rule.fault:
        case "cut_mid_line":
            yield line[: max(1, len(line) // 2)]
        case "missing_line":
            yield from lines
        case "doubled_line":
            yield line + line
            yield from lines
        case "unknown_id":
            yield UNKNOWN + line
            yield from lines
        case "blank_line":
            yield b"\n" + line
            yield from lines
        case "slow_stream":
            yield line
            yield from lines
