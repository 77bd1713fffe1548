"""An emulator inside a test: started, asked and told from Python, gone at the end of the block."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import orjson

from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.server import bind, build, url
from bakehouse_emulator.service import Emulator

START_LIMIT = STOP_LIMIT = 10.0  # real seconds


class Running:
    """A handle on an emulator at `url`. Everything goes over its control endpoints, so it works for any process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """One control call; returns the JSON answer. Raises ValueError with the emulator's sentence on a refusal."""
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(  # noqa: S310 - our own URL
            f"{self.url}/_emulator/{path}", data, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(orjson.loads(error.read())["error"]) from None

    def advance(self, seconds: float) -> float:
        """Step the clock by emulated seconds; returns the new emulated Unix time."""
        return float(self.control("POST", "clock", {"advance": seconds})["now"])

    def rules(self, *rules: Mapping[str, Any], replace: bool = False) -> None:
        """Add rules to the script, or put them in place of all others."""
        self.control("POST", "script", {"rules": rules, "replace": replace})

    def clear(self) -> None:
        """Remove all rules."""
        self.control("DELETE", "script")

    def script(self) -> Sequence[Mapping[str, Any]]:
        """The rules, each with `fired`."""
        found: Sequence[Mapping[str, Any]] = self.control("GET", "script")["rules"]
        return found

    def options(self, values: Mapping[str, Any]) -> None:
        """Change options."""
        self.control("POST", "options", values)

    def totals(self) -> dict[str, int]:
        """The ledger's sums: inputs, accepted, billed, accepted_twice, billed_twice."""
        found: dict[str, int] = self.control("GET", "ledger?totals=1")["totals"]
        return found

    def ledger(self, prompt: str | None = None) -> dict[str, dict[str, int]]:
        """Times accepted and billed by input, of inputs that contain this text."""
        query = f"?prompt={quote(prompt)}" if prompt else ""
        found: dict[str, dict[str, int]] = self.control("GET", "ledger" + query)["inputs"]
        return found

    def stats(self) -> dict[str, Any]:
        """Calls by endpoint, and all batches."""
        found: dict[str, Any] = self.control("GET", "stats")
        return found


@contextmanager
def running(options: EmulatorOptions | None = None) -> Iterator[Running]:
    """An emulator in a daemon thread. Raises PortInUse, and ValueError for a script that makes no sense.

    At the end of the block it stops listening; with a state directory, the block waits until that is closed.
    """
    thread = _Thread(options or EmulatorOptions())
    thread.start()
    if not thread.ready.wait(START_LIMIT):
        raise RuntimeError(f"the emulator did not start within {START_LIMIT:g} s")
    try:
        yield Running(url(thread.bound))
    finally:
        thread.stop()


class _Thread(threading.Thread):
    def __init__(self, options: EmulatorOptions) -> None:
        super().__init__(name="bakehouse-emulator", daemon=True)
        self.bound = bind(options.host, options.port)
        self.ready = threading.Event()
        self._emulator = Emulator(options)
        self._server = build(self._emulator, self.ready.set)

    def run(self) -> None:
        try:
            self._server.run(sockets=[self.bound])
        finally:
            self.bound.close()
            self._emulator.close()

    def stop(self) -> None:
        self._server.should_exit = True
        if self._emulator.options.state:
            self.join(STOP_LIMIT)
