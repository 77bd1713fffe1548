"""The shape that teams operate: several hosts, a Redis and a PostgreSQL of their own, processes that die and servers that restart."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time

import pytest
from cluster import Cluster, Postgres
from journey_machine import wait_until

LEASE = 12.0

APPLICATION = textwrap.dedent(
    """
    import sys, time
    from bakehouse import BakehouseError, enqueue_record, enqueue_records

    def params(number):
        return {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": f"item {number}"}]}

    def insist(enqueue):
        while True:
            try:
                return enqueue()
            except BakehouseError:
                time.sleep(0.1)

    job, numbers = sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3]))
    if job == "bulk":
        for start in numbers[::500]:
            some = [{"params": params(n), "custom_id": f"r{n}"} for n in range(start, start + 500)]
            insist(lambda: enqueue_records(some, job=job))
    else:
        for n in numbers:
            insist(lambda: enqueue_record(params(n), custom_id=f"r{n}", job=job))
    """
)


@pytest.fixture
def postgres(own_postgres):
    return Postgres(own_postgres)


@pytest.fixture
def cluster(tmp_path, api, server, postgres):
    made = Cluster(tmp_path, api, server.url, postgres.url, lease=LEASE, max_batch_requests=1_000)
    yield made
    made.stop()


def jobs(cluster):
    told = cluster.command("status", "--json")
    return {job["name"]: job["records"] for job in json.loads(told.stdout)["jobs"]} if not told.returncode else {}


def ended(cluster, state="succeeded"):
    return sum(records.get(state, 0) for records in jobs(cluster).values())


def goes_on(cluster, records, patience):
    """Wait until all records have their answers. However slow the machine is, for so many seconds nothing may stand still."""
    there, moved = ended(cluster), time.monotonic()
    while there < records:
        assert time.monotonic() < moved + patience, f"{there:,} of {records:,} for {patience:g} s"
        if (found := ended(cluster)) > there:
            there, moved = found, time.monotonic()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_hosts_finish_by_themselves_after_a_worker_redis_and_postgresql_were_killed(
    cluster, server, postgres, api, tmp_path
):
    assert cluster.command("migrate").returncode == 0
    cluster.start_host("a")
    cluster.start_host("b")
    wait_until(lambda: cluster.ready("a", "b"), "both hosts work")
    (tmp_path / "app.py").write_text(APPLICATION)
    applications = [
        subprocess.Popen([sys.executable, "app.py", *words], cwd=tmp_path, env=cluster.on("application"))
        for words in (("bulk", "0", "10000"), ("single", "10000", "20000"))
    ]
    wait_until(lambda: ended(cluster) > 500, "some have their answers")
    cluster.kill("a", "transfer")
    server.kill()
    server.start()
    wait_until(lambda: ended(cluster) > 4_000, "it goes on without that worker and after Redis's restart")
    postgres.kill()
    postgres.start()
    assert [application.wait(60) for application in applications] == [0, 0]
    goes_on(cluster, 20_000, 2 * LEASE)

    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"], totals["billed"]) == (20_000, 0, 20_000)
    assert cluster.command("doctor").returncode == 0
    for words in (("status",), ("show", "r17"), ("export", "--job", "bulk", "-o", str(tmp_path / "bulk.jsonl"))):
        told = cluster.command(*words)
        assert (told.returncode, told.stderr) == (0, "")
    assert len((tmp_path / "bulk.jsonl").read_text().splitlines()) == 10_000
