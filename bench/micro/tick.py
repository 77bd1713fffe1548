"""What a tick costs with so many finished records in the store, with 1,000 waiting and 5 batches open; and accepting 1,000 more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from sqlalchemy import text

from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, reading
from bakehouse_worker.ticking import due_doorbells
from bench.emulator import Emulator
from bench.micro import Row
from bench.micro.world import drain, enqueue, pointing_at, runtime, timed, to_the_api

SPAN, TICKS, WAITING, OPEN = 200_000, 50, 1_000, 5
_RECORD = (
    "INSERT INTO record (id, job_id, custom_id, lane_id, seq, bytes, digest, model, state, batch_id, generation, attempt, failures, "
    "expiries, next_at, settled_at) {series} SELECT i, {job}, 'old ' || i, {lane}, i, 900, 'd', 'm', 'succeeded', NULL, 0, 0, 0, 0, "
    "0, 1 FROM n"
)
_BODY = "INSERT INTO body (record_id, generation, params) {series} SELECT i, 0, {blob} FROM n"
_RESULT = (
    "INSERT INTO result (record_id, attempt, batch_id, kind, input_tokens, output_tokens, cache_write_tokens, cache_read_tokens, "
    "received_at, line) {series} SELECT i, 0, 1 + i / 10000, 'succeeded', 1, 1, 0, 0, 1, {blob} FROM n"
)
_BATCH = (
    "INSERT INTO batch (state, api_version, betas, requests, bytes, created_at, not_before, tries, lease_until, next_poll_at, "
    "finished_at) {series} SELECT 'settled', 'v', '', 10000, 1, 1, 0, 0, 0, 0, 1 FROM n WHERE i % 10000 = 0"
)
_SERIES = {
    True: "WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i < :high)",
    False: "WITH n(i) AS (SELECT generate_series(CAST(:low AS bigint), CAST(:high AS bigint)))",
}


def measure(stored: list[str], home: Path, database_url: Callable) -> Iterator[Row]:
    for records in map(int, stored):
        for name in ("SQLite", "PostgreSQL"):
            with database_url(name) as url:
                yield from one(records, home, name, url)


def one(records: int, home: Path, name: str, url: str) -> Iterator[Row]:
    with (
        Emulator(home / "emulator", hold=True) as emulator,
        pointing_at(emulator.url),
        runtime(home / "ours", url, max_batch_requests=10) as world,
    ):
        enqueue(world, OPEN * 10, job="open")
        drain(world)
        to_the_api(world)
        fill(world, records)
        slow = world.settings.model_copy(update={"linger": 3600.0, "max_batch_requests": 10_000})
        world.settings = slow
        enqueue(world, WAITING, job="waiting")
        accepting = timed(lambda: drain(world))
        assert reading.jobs(world.database, "waiting")[0].known == WAITING
        ticks = [timed(lambda: list(due_doorbells(world))) for _ in range(TICKS)]
        looks = [timed(lambda: batches.open_batches(world.database)) for _ in range(TICKS)]
    told = f"{name}, {records:,} finished records"
    yield f"tick, {told}", f"{median(ticks) * 1000:.1f} ms", f"{max(ticks) * 1000:.1f} ms at most of {TICKS}"
    yield f"look for open batches, {told}", f"{median(looks) * 1000:.1f} ms", f"{OPEN} open"
    yield f"accept {WAITING:,} more, {told}", f"{accepting * 1000:.0f} ms", ""


def fill(world: Runtime, records: int) -> None:
    """Put finished records with their bodies, results and batches into the store, by statements that make them there."""
    sqlite = world.database.sqlite
    with world.database.read() as connection:
        start = int(connection.scalar(text("SELECT max(id) FROM record")) or 0)
        job, lane = connection.execute(text("SELECT job_id, id FROM lane LIMIT 1")).one()
    words = {"series": _SERIES[sqlite], "blob": "X'7B7D'" if sqlite else "'{}'::bytea", "job": job, "lane": lane}
    for low in range(start + 1, start + records + 1, SPAN):
        high = min(low + SPAN - 1, start + records)
        with world.database.write() as connection:
            for statement in (_RECORD, _BODY, _RESULT, _BATCH):
                said = statement.format(**{**words, "blob": words["blob"].replace(":", r"\:")})
                connection.execute(text(said), {"low": low, "high": high})
    with world.database.write() as connection:
        said = "UPDATE counter SET records = records + :more WHERE job_id = :job AND state = 'succeeded'"
        if not connection.execute(text(said), {"more": records, "job": job}).rowcount:
            said = "INSERT INTO counter (job_id, state, records) VALUES (:job, 'succeeded', :more)"
            connection.execute(text(said), {"more": records, "job": job})
        if not sqlite:
            connection.execute(text("SELECT setval(pg_get_serial_sequence('record', 'id'), max(id)) FROM record"))
    if not sqlite:  # what a server does of itself before long
        with world.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
