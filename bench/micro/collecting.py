"""A worker's memory while it collects one batch of large results: a process of its own, from its imports to its peak."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import orjson

from bench.emulator import Emulator, environment
from bench.micro import REPETITIONS, Row
from bench.micro.world import drain, ended, enqueue, pointing_at, runtime, to_the_api

#: Results of the larger batch, whatever other parts measure, and characters of each answer: a line of about 4 KB.
RESULTS, TEXT = 100_000, 3_500
SMALL = 1_000


def measure(records: int, home: Path) -> Iterator[Row]:
    for results in (SMALL, RESULTS):
        runs = [collected(results, home) for _ in range(REPETITIONS)]
        rises = sorted(run["peak"] - run["before"] for run in runs)
        told = {name: median(run[name] for run in runs) for name in runs[0]}
        rise = (
            f"{median(rises):.1f} MB ({rises[0]:.1f} to {rises[-1]:.1f}) more than before, {told['peak']:.0f} MB in all"
        )
        size = f"{told['bytes'] / results:,.0f} bytes a line, {told['bytes'] / 1e6:,.0f} MB in all, {told['seconds']:.1f} s"
        yield f"memory of collecting one batch of {results:,} results", rise, size


def collected(results: int, home: Path) -> dict[str, float]:
    """Let a process collect a batch of so many results, and return what it tells of its memory, in MB."""
    large = {"on": "result", "fault": "text", "text": "y" * TEXT}
    limits = {"max_batch_requests": 100_000, "max_queued_requests": 10_000_000}
    with (
        Emulator(home.with_name("emulator"), large) as emulator,
        pointing_at(emulator.url),
        runtime(home, **limits) as world,
    ):
        enqueue(world, results)
        drain(world)
        (batch,) = to_the_api(world)
        ended(world, [batch])
        argv = [sys.executable, "-m", "bench.micro.collecting", str(home), world.settings.redis_url, str(batch)]
        keys = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "bench"}
        done = subprocess.run(argv, env=environment(**keys), check=True, stdout=subprocess.PIPE)
        told: dict[str, float] = orjson.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Collect one batch, as a transfer worker does, and tell the memory before and at its peak."""
    home, url, batch = sys.argv[1:]
    from bakehouse_worker.collect import collect
    from bakehouse_worker.runtime import make
    from bakehouse_worker.settings import Settings
    from bakehouse_worker.store import submissions

    world = make(Settings(data_dir=Path(home), redis_url=url, _env_file=None))
    world.gateway.newest()
    submissions.identity(world.database)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, size, started = status("VmRSS"), 0, time.monotonic()

    def stored(rows) -> None:
        nonlocal size
        size += sum(len(row.line) for row in rows)

    assert collect(world, int(batch), stored) == "collected"
    told = {"before": before, "peak": status("VmHWM"), "bytes": size, "seconds": time.monotonic() - started}
    print(orjson.dumps(told).decode())


def status(name: str) -> float:
    """Return a figure of this process's memory in MB."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(row.split()[1]) * 1.024 / 1000 for row in rows if row.startswith(name))


if __name__ == "__main__":
    main()
