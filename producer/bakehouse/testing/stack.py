"""A whole system for one test: what its emulator says, what it did, and what went wrong in it."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from bakehouse.testing import warm

if TYPE_CHECKING:
    import pytest

#: What is faster than usual: a record is through in a fraction of a second, all its attempts in a few.
FAST = {
    "BAKEHOUSE_TICK": "0.1",
    "BAKEHOUSE_LINGER": "0",
    "BAKEHOUSE_POLL_INTERVAL": "0.1",
    "BAKEHOUSE_RETRY_BASE": "0.05",
    "BAKEHOUSE_RETRY_CAP": "0.2",
    "BAKEHOUSE_PROBE_INTERVAL": "0.5",
    "BAKEHOUSE_FAILURE_SHARE": "1",
}
#: What must lead to nothing but the stack, whatever the environment or a `.env` says.
OWN = {
    "BAKEHOUSE_REDIS_URL": "",
    "BAKEHOUSE_REDIS_PREFIX": "bakehouse",
    "BAKEHOUSE_DATABASE_URL": "",
    "BAKEHOUSE_OUTBOX_URL": "",
    "BAKEHOUSE_AUTO_MIGRATE": "true",
    "ANTHROPIC_API_KEY": "emulator",
    "ANTHROPIC_AUTH_TOKEN": "",
}
#: What an answer ends with -> the emulator's name for such a result.
_ENDS = {
    "end_turn": "text",
    "max_tokens": "max_tokens",
    "pause_turn": "pause_turn",
    "model_context_window_exceeded": "model_context_window_exceeded",
}
#: Whose logs are shown when a test fails.
_WORKERS = ("control", "transfer", "deliver", "beat")
#: Emulated seconds that held batches take; the emulator's clock runs sixty times as fast.
_HELD = 36_000.0


class HandlerFailed(AssertionError):
    """A handler raised at every attempt, and its outcome was given up. Its traceback follows."""


class BakehouseStack:
    """What the fixture `bakehouse_stack` gives: one test's own system, and what its emulator is to say.

    What the test scripts is looked at in the order in which it was said; the first that matches a request, and has not been used
    `times` times, decides. It matches if the request as JSON contains the given text; the empty text matches every request. A
    request that nothing matches gets the emulator's own answer, `answer to ` and twelve hex digits that depend on the prompt.

    home     the data directory
    api_url  where the emulator answers
    """

    def __init__(self, home: Path, api_url: str, source: warm.Warm) -> None:
        self.home = home
        self.api_url = api_url
        self._warm = source

    def answer(self, prompt: str, text: str, *, stop_reason: str = "end_turn", times: int | None = None) -> None:
        """Let the model say `text` to requests that contain `prompt`. Raises ValueError for a stop_reason that there is not."""
        if stop_reason not in _ENDS:
            raise ValueError(f"stop_reason: {stop_reason!r} is none of {', '.join(_ENDS)}; for a refusal use refuse()")
        self._rule(prompt, times, fault=_ENDS[stop_reason], text=text)

    def fail(
        self,
        prompt: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - the API's own word
        message: str = "a test says so",
        times: int | None = None,
    ) -> None:
        """Let requests that contain `prompt` come back as errors. Whether they are sent again depends on the type.

        `invalid_request_error` and `not_found_error` are for good; others, such as `api_error` and `overloaded_error`, are tried
        again up to MAX_ATTEMPTS: with `times=1` the second attempt goes through.
        """
        self._rule(prompt, times, fault="errored", type=type, message=message)

    def expire(self, prompt: str, *, times: int | None = None) -> None:
        """Let requests that contain `prompt` expire; they are sent again up to MAX_EXPIRED times."""
        self._rule(prompt, times, fault="expired")

    def refuse(self, prompt: str, *, times: int | None = None) -> None:
        """Let the model refuse requests that contain `prompt`: an answer without text whose stop_reason is `refusal`."""
        self._rule(prompt, times, fault="refusal")

    def hold(self) -> None:
        """Let batches that are created from now on stay in progress until `release()`: to see what your code does meanwhile."""
        self._control("POST", "options", {"batch_seconds": _HELD})

    def release(self) -> None:
        """Let all batches end."""
        self._control("POST", "options", {"batch_seconds": 0.0})
        self._control("POST", "clock", {"advance": _HELD})

    def drain(self, timeout: float = 20.0) -> None:
        """Wait until every record has its end and every handler has been called.

        Raises HandlerFailed, with the traceback, for a handler that raised at every attempt, and TimeoutError, with what
        `bakehouse status` says, if something is still under way after `timeout` seconds.
        """
        found = self._warm.drain(timeout)
        if found["failed"]:
            given_up = found["failed"]
            told = "1 outcome was given up by its handler" if given_up == 1 else f"{given_up} outcomes were given up"
            raise HandlerFailed(f"{told}\n{self.tracebacks()}")
        if not found["idle"]:
            raise TimeoutError("\n".join([f"not all is done after {timeout:g} seconds:", *found["told"]]))

    def sent(self, prompt: str = "") -> int:
        """Return how often requests that contain `prompt` were taken by the API, every attempt counted."""
        return self._counted(prompt, "accepted")

    def billed(self, prompt: str = "") -> int:
        """Return how often requests that contain `prompt` were billed."""
        return self._counted(prompt, "billed")

    def tracebacks(self) -> str:
        """Return the tracebacks of handlers that raised in this test, each once; empty if none did."""
        try:
            lines = (self.home / "logs" / "handlers.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return ""
        raised = Counter((each["handler"], each["traceback"]) for each in map(orjson.loads, lines))
        told = {1: "once", 2: "twice"}
        return "\n".join(
            f"{handler} raised {told.get(times, f'{times} times')}:\n{traceback}"
            for (handler, traceback), times in raised.items()
        )

    def logs(self) -> str:
        """Return the tracebacks of handlers, and the last lines of what every process of the stack logged: ids and numbers."""
        return "\n".join(part for part in (self.tracebacks(), warm.tail(self.home / "logs", _WORKERS)) if part)

    def _rule(self, prompt: str, times: int | None, **effect: str) -> None:
        self._control("POST", "script", {"on": "result", "prompt": prompt or None, "times": times, **effect})

    def _counted(self, prompt: str, what: str) -> int:
        found = self._control("GET", f"ledger?prompt={quote(prompt)}" if prompt else "ledger")
        return sum(each[what] for each in found["inputs"].values())

    def _control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own URL
            f"{self.api_url}/_emulator/{path}", None if body is None else orjson.dumps(body), method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(orjson.loads(error.read())["error"]) from None


def start(source: warm.Warm, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> BakehouseStack:
    """Start a stack, and lead this process's environment to it until `monkeypatch` is undone."""
    for name, value in {**OWN, **FAST, **settings}.items():
        monkeypatch.setenv(name, value)
    home, where = source.start(os.environ)
    monkeypatch.setenv("BAKEHOUSE_DATA_DIR", str(home))
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", where["redis"])
    monkeypatch.setenv("ANTHROPIC_BASE_URL", where["api"])
    return BakehouseStack(home, where["api"], source)
