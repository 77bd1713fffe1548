"""`enqueue_records` beside raw pipelined XADD of the same bytes, and `enqueue_record` beside raw XADD one by one; by turns, with both
fsync policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import redis

from bakehouse import Client
from bakehouse.connection import connect
from bakehouse.contract import Keys, encode_record
from bakehouse.record import build
from bench.inputs import params
from bench.micro import REPETITIONS, Row, among
from bench.micro.world import INBOX, timed, valkey

PIPELINE = 500
INTO = Keys("bakehouse").inbox

#: Records as an application has them: params by custom_id.
Bodies = Mapping[str, Mapping[str, Any]]


def measure(records: int, home: Path) -> Iterator[Row]:
    bodies = {f"record {number}": params(number) for number in range(records)}
    entries = [encode_record(build(body, custom_id=custom_id)) for custom_id, body in bodies.items()]
    size = sum(len(header) + len(body) for header, body in entries) // records
    for fsync in ("always", "everysec"):
        with valkey(home, fsync) as url:
            client, connection = Client(url, max_inbox_bytes=INBOX), connect(url)
            ways = (
                lambda connection=connection: raw(connection, entries),
                lambda client=client: together(client, bodies),
                lambda connection=connection: raw_singly(connection, entries),
                lambda client=client: singly(client, bodies),
            )
            best, many, bare, one = by_turns(ways, connection, records)
        told = f"appendfsync {fsync}"
        yield f"raw XADD, pipelines of {PIPELINE}, {told}", among(best), f"{size} bytes each"
        yield f"enqueue_records, {told}", among(many), f"{median(best) / median(many):.0%} of raw"
        yield f"raw XADD one by one, {told}", among(bare), "the same client library, one round trip each"
        yield f"enqueue_record one by one, {told}", among(one), f"{median(bare) / median(one):.0%} of raw one by one"


def by_turns(ways: tuple[Callable[[], None], ...], connection: redis.Redis, records: int) -> list[list[float]]:
    """Return the seconds that one record took each way, in each repetition; every one begins with an empty server."""
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(REPETITIONS):
        for way, seconds in zip(ways, took, strict=True):
            connection.flushall()
            seconds.append(timed(way) / records)
    return took


def raw(connection: redis.Redis, entries: list[tuple[bytes, bytes]]) -> None:
    for start in range(0, len(entries), PIPELINE):
        pipeline = connection.pipeline(transaction=False)
        for header, body in entries[start : start + PIPELINE]:
            pipeline.xadd(INTO, {"h": header, "p": body})
        pipeline.execute()


def raw_singly(connection: redis.Redis, entries: list[tuple[bytes, bytes]]) -> None:
    for header, body in entries:
        connection.xadd(INTO, {"h": header, "p": body})


def together(client: Client, bodies: Bodies) -> None:
    client.enqueue_records({"params": body, "custom_id": custom_id} for custom_id, body in bodies.items())


def singly(client: Client, bodies: Bodies) -> None:
    for custom_id, body in bodies.items():
        client.enqueue_record(body, custom_id=custom_id)
