"""Redis is flushed while workers work: what was accepted needs nothing of it, and no process is started anew."""

from __future__ import annotations

import json

import pytest
import redis
from cluster import Cluster
from journey_machine import wait_until

from bakehouse import Client

RECORDS, LEASE = 20_000, 12.0


@pytest.fixture
def cluster(tmp_path, api, server):
    made = Cluster(tmp_path, api, server.url, "", auto_migrate="true", lease=LEASE, max_batch_requests=1_000)
    yield made
    made.stop()


def records(cluster):
    told = cluster.command("status", "--json")
    return json.loads(told.stdout)["jobs"][0]["records"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_redis_flushed_in_the_middle_of_20000_records_stops_nothing_that_was_accepted(cluster, api, server):
    api.options({"batch_seconds": 900})  # 15 s of this test
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    workers = {name: process.pid for name, process in cluster.processes.items()}
    client = Client(server.url)
    for start in range(0, RECORDS, 1_000):
        client.enqueue_records(
            [
                {
                    "custom_id": f"r{n}",
                    "params": {
                        "model": "claude-haiku-5-5",
                        "max_tokens": 64,
                        "messages": [{"role": "user", "content": f"item {n}"}],
                    },
                }
                for n in range(start, start + 1_000)
            ],
            job="job",
        )
    wait_until(lambda: sum(records(cluster).values()) == RECORDS, "all are accepted", 60)
    assert records(cluster).get("succeeded", 0) < RECORDS / 2
    redis.Redis.from_url(server.url).flushall()
    wait_until(lambda: records(cluster).get("succeeded") == RECORDS, "all have their answers", 120)
    assert {name: process.pid for name, process in cluster.processes.items()} == workers
    assert all(process.poll() is None for process in cluster.processes.values())
    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"], totals["billed"]) == (RECORDS, 0, RECORDS)
    assert cluster.command("doctor").returncode == 0
