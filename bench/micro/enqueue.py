"""`enqueue_record` one by one and `enqueue_records`, against raw pipelined XADD of the same bytes, with both fsync policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse import Client
from bakehouse.connection import connect
from bakehouse.contract import Keys, encode_record
from bakehouse.record import build
from bench.inputs import params
from bench.micro import Row, rate
from bench.micro.world import INBOX, timed, valkey

PIPELINE = 500


def measure(records: int, home: Path) -> Iterator[Row]:
    bodies = [(params(number), f"record {number}") for number in range(records)]
    entries = [encode_record(build(body, custom_id=custom_id)) for body, custom_id in bodies]
    size = sum(len(header) + len(body) for header, body in entries) // records
    for fsync in ("always", "everysec"):
        with valkey(home, fsync) as url:
            client, connection = Client(url, max_inbox_bytes=INBOX), connect(url)

            def raw(connection=connection) -> None:
                for start in range(0, records, PIPELINE):
                    pipeline = connection.pipeline(transaction=False)
                    for header, body in entries[start : start + PIPELINE]:
                        pipeline.xadd(Keys("bakehouse").inbox, {"h": header, "p": body})
                    pipeline.execute()

            def many(client=client) -> None:
                client.enqueue_records({"params": body, "custom_id": custom_id} for body, custom_id in bodies)

            def singly(client=client) -> None:
                for body, custom_id in bodies:
                    client.enqueue_record(body, custom_id=custom_id)

            best = timed(raw)
            connection.flushall()
            together = timed(many)
            connection.flushall()
            alone = timed(singly)
        told = f"appendfsync {fsync}"
        yield f"raw XADD, pipelines of {PIPELINE}, {told}", rate(records, best), f"{size} bytes each"
        yield f"enqueue_records, {told}", rate(records, together), f"{best / together:.0%} of raw"
        yield f"enqueue_record one by one, {told}", rate(records, alone), f"{best / alone:.0%} of raw"
