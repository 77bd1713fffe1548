"""What `iter_outcomes` and `wait` cost in memory and questions, over stores of several sizes: `python bench/reading.py`.

Each size is read by a process of its own; printed are its peak memory, what that is above a process that only opened the store, and
outcomes per second. The stores are made here, by the tables, and hold results of about 400 bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
from sqlalchemy import insert

from bakehouse import iter_outcomes
from bakehouse_worker import schema
from bakehouse_worker.store.database import open_database
from bakehouse_worker.tables import Body, Counter, Job, Lane, Record, Result, table

SPAN = 10_000
PARAMS = orjson.dumps(
    {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "x" * 100}]}
)


def line(number: int) -> bytes:
    """Return a result line as the API writes it."""
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "y" * 200}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 40, "output_tokens": 50},
    }
    return orjson.dumps({"custom_id": f"r{number}", "result": {"type": "succeeded", "message": message}})


def fill(home: Path, records: int) -> None:
    """Make a store with so many records that have succeeded."""
    database = open_database("", home / "bakehouse.sqlite")
    schema.ensure(database, auto_migrate=True)
    with database.write() as connection:
        connection.execute(insert(table(Job)), {"id": 1, "name": "bench", "created_at": 0.0, "rejected_pruned": 0})
        lane = {"id": 1, "job_id": 1, "key": "k", "priority": 0, "api_version": "v", "betas": "", "model": ""}
        connection.execute(insert(table(Lane)), lane)
        connection.execute(insert(table(Counter)), {"job_id": 1, "state": "succeeded", "records": records})
    same = {
        "job_id": 1,
        "lane_id": 1,
        "bytes": len(PARAMS),
        "digest": "d",
        "model": "m",
        "state": "succeeded",
        "settled_at": 1.0,
    }
    zero = dict.fromkeys(("seq", "generation", "attempt", "failures", "expiries", "next_at"), 0)
    tokens = dict.fromkeys(("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens"), 0)
    for start in range(1, records + 1, SPAN):
        ids = range(start, min(start + SPAN, records + 1))
        with database.write() as connection:
            connection.execute(insert(table(Record)), [{"id": n, "custom_id": f"r{n}", **same, **zero} for n in ids])
            bodies = [{"record_id": n, "generation": 0, "params": PARAMS, "metadata_json": b'{"n":1}'} for n in ids]
            connection.execute(insert(table(Body)), bodies)
            result = {"attempt": 0, "batch_id": 1, "kind": "succeeded", "received_at": 1.0, **tokens}
            connection.execute(insert(table(Result)), [{"record_id": n, **result, "line": line(n)} for n in ids])
    database.close()


def read(records: int) -> None:
    """Read everything, and print what it took."""
    iterator = iter_outcomes("bench") if records else iter(())
    first = next(iterator, None)
    before, began, count = peak(), time.monotonic(), 1 if first else 0
    characters = 0
    for outcome in iterator:
        count += 1
        characters += len(outcome.text)
    took = time.monotonic() - began
    assert count == records, (count, records)
    most, rate = peak(), count / max(took, 1e-9)
    print(
        f"{records:>9,} outcomes: {most:.1f} MB at most, {most - before:.1f} MB more than at the first, {rate:,.0f}/s"
    )


def peak() -> float:
    """Return this process's largest memory so far, in MB. (`ru_maxrss` would begin with that of the process that started it.)"""
    for row in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if row.startswith("VmHWM:"):
            return int(row.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status: this needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.read is not None:
        read(wanted.read)
        return
    for size in map(int, wanted.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="bakehouse-bench-") as home:
            fill(Path(home), size)
            env = {**os.environ, "BAKEHOUSE_DATA_DIR": home}
            subprocess.run([sys.executable, __file__, "--read", str(size)], env=env, check=True)


if __name__ == "__main__":
    main()
