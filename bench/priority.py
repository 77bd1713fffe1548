"""1,000 records of priority enqueued behind a backfill of 500,000: in which batch do they leave, and what does that take?

    python bench/priority.py [--records 500000] [--database postgresql://...]

A real Valkey of its own; SQLite in a temporary directory, or the (empty) database named. Nothing is sent: batches are made only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bakehouse import Client
from bakehouse_worker import schema
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.local import embedded
from bakehouse_worker.runtime import make
from bakehouse_worker.settings import Settings
from bakehouse_worker.store import batches, reading


def params(number: int) -> dict[str, object]:
    return {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": f"item {number}"}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--database", default="")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "logs").mkdir()
        child, url = embedded.server(home)
        child.start()
        embedded.wait_until_ready(child, url)
        try:
            measure(home, url, wanted.database, wanted.records)
        finally:
            assert child.process is not None
            child.process.terminate()
            child.process.wait()


def measure(home: Path, url: str, database_url: str, count: int) -> None:
    runtime = make(Settings(data_dir=home, redis_url=url, database_url=database_url, linger=0))
    schema.ensure(runtime.database, auto_migrate=True)
    client = Client(url, max_inbox_bytes=2_000_000_000)

    def enqueue(job: str, number: int, priority: int) -> int:
        return client.enqueue_records(
            ({"params": params(n), "custom_id": f"{job} {n}", "priority": priority} for n in range(number)), job=job
        )

    timed("enqueue the backfill", count, lambda: enqueue("backfill", count, 0))
    timed("enqueue today's", 1_000, lambda: enqueue("today", 1_000, 5))
    timed("accept all", count + 1_000, lambda: drain(runtime))
    made = timed("pack what the API may have", 200_000, lambda: chunk(runtime))
    today = next(view.id for view in reading.jobs(runtime.database, "today"))
    ids = {ending.record_id for ending in reading.iterate(runtime.database, today, state="packed")}
    for batch in made:
        inside = sum(member.record_id in ids for member in batches.members(runtime.database, batch))
        if inside:
            print(f"batch {batch} of {made[0]}..{made[-1]} holds {inside:,} of today's 1,000")


def drain(runtime) -> None:
    while accept(runtime):
        pass


def timed(what, records, do):
    started = time.perf_counter()
    found = do()
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s ({records / seconds:,.0f} records/s)")
    return found


if __name__ == "__main__":
    main()
