"""A process that has imported everything and forks whole stacks out of itself, one after another: what `bakehouse.testing` runs on.

Importing what four worker processes need takes seconds of CPU; forking it takes milliseconds. So every test gets processes, a store,
a Redis and an emulator of its own, and nothing of an earlier test reaches it. Started by `python -m bakehouse_worker.local.warm DIR`,
it reads one JSON object a line and answers each by one; at the end of its input it ends, with all that it started and with DIR.

    {"do": "start", "home", "environ", "path", "cwd"}   -> {"redis", "api"}: a stack is up on `home`
    {"do": "drain", "seconds"}                          -> {"idle", "failed", "told"}: whether everything has its end
    {"do": "stop"}                                      -> {}: all its processes have ended, `home` is gone

Whatever cannot be done is answered by {"error"}, one sentence.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from bakehouse_worker import schema
from bakehouse_worker.local import crew
from bakehouse_worker.local.forked import ForkedStack, end
from bakehouse_worker.local.forking import Reply, ask, fork, read
from bakehouse_worker.local.quiet import drain
from bakehouse_worker.store.database import open_database

_PR_SET_CHILD_SUBREAPER = 36


class Warm:
    """Serves one client. `folder` is its own; in it is an empty store, which each stack gets a copy of."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._template = folder, folder / "empty.sqlite"
        self._leader: int | None = None
        self._home: Path | None = None
        self._environ: dict[str, str] = {}

    def prepare(self) -> None:
        """Import everything, and make the empty store in a process of its own: no connection may be open here when it forks."""
        crew.imports()
        importlib.import_module("bakehouse_worker.gateway")
        if error := ask(self._migrate).get("error"):
            raise RuntimeError(error)

    def turn(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line says."""
        match order["do"]:
            case "start":
                return self._start(order)
            case "drain":
                return ask(lambda reply: reply(drain(self._environ, order["seconds"])))
            case _:
                self.stop()
                return {}

    def stop(self) -> None:
        """End the stack at once: nothing of it is wanted any more."""
        if self._leader is not None:
            end(self._leader)
            self._leader = None
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _migrate(self, reply: Reply) -> None:
        database = open_database("", self._template)
        schema.migrate(database)
        database.close()
        reply({})

    def _start(self, order: dict[str, Any]) -> dict[str, Any]:
        self.stop()
        self._home, self._environ = Path(order["home"]), order["environ"]
        stack = ForkedStack(self._home, self._template, self._environ, order["path"], order["cwd"])
        reader, self._leader = fork(stack.live)
        with reader:
            return read(reader)


def main() -> None:
    """Serve standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    warm = Warm(Path(sys.argv[1]))
    try:
        warm.prepare()
        with suppress(BrokenPipeError):  # the client is gone, and so is the input
            answers.write(b"{}\n")
            while line := sys.stdin.buffer.readline():
                answers.write(orjson.dumps(warm.turn(orjson.loads(line))) + b"\n")
        warm.stop()
        shutil.rmtree(warm.folder, ignore_errors=True)  # after a mistake it stays, with the log in it
    finally:
        warm.stop()


if __name__ == "__main__":
    main()
