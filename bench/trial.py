"""One run of one contender against an emulator of its own: timed, its memory sampled, its output and the ledger looked at."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench.contenders import Contender, Postgres
from bench.emulator import FAILS, LOSES, Emulator
from bench.memory import Sampler

RULES = {"clean": (), "failing": (FAILS,), "lost": (LOSES,), "killed": ()}
#: Requests in a batch, of every contender that can be told.
BATCH = 10_000
#: Seconds after which a run is ended and called so.
LIMIT = 3600.0


@dataclass
class Run:
    """What one run took. Memory is in MB, times are in seconds; `lost` are inputs for which the output has no result."""

    contender: str
    scenario: str
    records: int
    wall: float = 0.0
    cpu: float = 0.0
    largest: float = 0.0
    together: float = 0.0
    largest_is: str = ""
    processes: int = 0
    samples: int = 0
    creates: int = 0
    reads: int = 0
    billed: int = 0
    billed_twice: int = 0
    lost: int = 0
    starts: int = 0
    emulator_cpu: float = 0.0
    note: str = ""

    def row(self) -> dict[str, object]:
        return asdict(self)


def run(contender: Contender, scenario: str, source: Path, records: int, home: Path, postgres: Postgres) -> Run:
    """Run once, in an empty directory. A contender that fails is told of in `note`, and does not end the bench."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    found, output = Run(contender.name, scenario, records), home / "output.jsonl"
    with ExitStack() as stack:
        database = stack.enter_context(postgres.database()) if contender.postgres else ""
        emulator = stack.enter_context(Emulator(home / "emulator", *RULES[scenario]))
        before, env = emulator.cpu(), contender.environment(emulator.url, home, database)
        argv = contender.command(INPUT=str(source), OUTPUT=str(output), HOME=str(home / "data"))
        began = time.monotonic()
        if scenario == "killed":
            _start(found, argv, env, home, kill_after=(records + BATCH - 1) // BATCH // 2 + 1, emulator=emulator)
        code = _start(found, argv, env, home)
        found.wall = time.monotonic() - began
        found.emulator_cpu = emulator.cpu() - before
        _count(found, emulator)
    found.lost = records - answered(output)
    if code not in (0, 1) or (code == 1 and not output.exists()):
        found.note = f"exit {code}: {_last_line(home / 'stderr')}"
    return found


def _start(found: Run, argv, env, home: Path, *, kill_after: int = 0, emulator: Emulator | None = None) -> int:
    """Run the command to its end, or to the moment when the API has accepted `kill_after` batches: then it is killed by -9."""
    with (home / "stdout").open("ab") as out, (home / "stderr").open("ab") as err:
        process = subprocess.Popen(argv, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        found.starts += 1
        with Sampler(process.pid) as sampler:
            if kill_after:
                while process.poll() is None and len(emulator.stats()["batches"]) < kill_after:
                    time.sleep(0.02)
                process.kill()
            try:
                code = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                code = -9
            finally:
                process.kill()  # nothing of it is left behind, also when the bench itself is interrupted
                process.wait()
    if sampler.largest > found.largest:
        found.largest, found.largest_is = sampler.largest, sampler.who
    found.together = max(found.together, sampler.together)
    found.processes = max(found.processes, sampler.processes)
    found.samples += sampler.samples
    found.cpu += sampler.cpu
    return code


def _count(found: Run, emulator: Emulator) -> None:
    calls, totals = emulator.calls(), emulator.totals()
    found.creates = calls.pop("create", 0)
    found.reads = sum(calls.values())
    found.billed, found.billed_twice = totals["billed"], totals["billed_twice"]


def answered(output: Path) -> int:
    """Count the custom_ids that have a result in an output file, each once."""
    seen = set()
    if output.exists():
        with output.open("rb") as file:
            for line in file:
                fields = orjson.loads(line)
                if fields.get("result"):
                    seen.add(fields["custom_id"])
    return len(seen)


def _last_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return text[-1][:160] if text else "no word"
