"""The emulator as a process of its own: started for each run, asked for its ledger, its calls and its CPU time, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import psutil

from bakehouse_emulator.running import Running

#: The text of every answer: 200 bytes, and JSON, because one of the rivals takes nothing else.
ANSWER = '{"answer":"' + "The oven is hot and the bread will rise. ".ljust(187, ".") + '"}'
#: Everything answers so, after the other rules had their turn.
TALKS = {"on": "result", "fault": "text", "text": ANSWER}
FAILS = {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": "scripted", "share": 0.1}
LOSES = {"on": "create", "fault": "lost_after_acceptance", "times": 1}


class Emulator(Running):
    """Use it as a block. Batches end as soon as they are accepted; `hold` keeps them open until the clock is stepped."""

    def __init__(self, home: Path, *rules: dict[str, Any], hold: bool = False) -> None:
        super().__init__("")
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._rules, self._hold = home, [*rules, TALKS], hold
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Emulator:
        script, port = self._home / "emulator.json", self._home / "port"
        script.write_bytes(orjson.dumps(self._rules))
        port.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "bakehouse_emulator", "--quiet", "--port", "0", "--port-file", str(port)]
        speed = ["--speed", "0", "--batch-seconds", "60"] if self._hold else ["--speed", "1", "--batch-seconds", "0"]
        argv += [*speed, "--script", str(script)]
        with (self._home / "emulator.log").open("ab") as log:
            self._process = subprocess.Popen(argv, env=environment(), stderr=log)
        deadline = time.monotonic() + 30
        while not (port.exists() and port.read_text()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the emulator did not start")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(port.read_text())}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used so far."""
        assert self._process is not None
        used = psutil.Process(self._process.pid).cpu_times()
        return used.user + used.system

    def calls(self) -> dict[str, int]:
        """Return how often each endpoint was called. It costs no look at the batches' members."""
        return dict(self.stats()["calls"])


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without anybody's settings, with the sources on the path, and `more`."""
    house = Path(__file__).parents[1]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BAKEHOUSE_", "ANTHROPIC_"))}
    roots = [str(house / name) for name in ("producer", "worker", "emulator")] + [str(house)]
    return {**clean, "PYTHONPATH": os.pathsep.join(roots), **more}
