"""Senders that stop or die with a create half out, as processes, while others take over what they held."""

from __future__ import annotations

import json
import signal

import psutil
import pytest
from cluster import Cluster, Server
from journey_machine import wait_until

from bakehouse_worker.store import reading
from bakehouse_worker.store.database import open_database

RECORDS = 1_500


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "redis")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def cluster(tmp_path, api, server):
    made = Cluster(tmp_path, api, server.url, "", auto_migrate="true", lease=3, create_timeout=30, doubt_grace=4)
    yield made
    made.stop()


def batches(cluster):
    database = open_database("", cluster.home / "a" / "bakehouse.sqlite")
    try:
        return [view.state for view in reading.live_batches(database)]
    finally:
        database.close()


def send_slowly(cluster, api, state, *, size, seconds):
    """Start everything, with a server that reads the first create slowly, and wait until its batch is in a state."""
    api.rules({"on": "create", "fault": "slow_read", "seconds": seconds, "times": 1})
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work", 30)
    file = cluster.home / "in.jsonl"
    with file.open("w") as lines:
        for number in range(RECORDS):
            params = {"model": "claude-haiku-5-5", "max_tokens": 64}
            params["messages"] = [{"role": "user", "content": f"item {number} " + "x" * size}]
            lines.write(json.dumps({"custom_id": f"r{number}", "params": params}) + "\n")
    assert cluster.command("enqueue", str(file), "--job", "job").returncode == 0
    wait_until(lambda: batches(cluster) == [state], f"the batch is {state}", 40)
    sender = cluster.processes.pop(("a", "transfer"))
    return [psutil.Process(sender.pid), *psutil.Process(sender.pid).children(recursive=True)], sender


def finished(cluster):
    return not batches(cluster) and f"{RECORDS:,} succeeded" in cluster.command("status").stdout


@pytest.mark.slow
@pytest.mark.parametrize(("state", "size", "seconds"), [("uploading", 8_000, 0.1), ("closing", 1_000, 0.25)])
def test_a_sender_that_is_frozen_until_another_has_finished_its_batch_changes_nothing_when_it_wakes(
    cluster, api, state, size, seconds
):
    frozen, sender = send_slowly(cluster, api, state, size=size, seconds=seconds)
    for each in frozen:
        each.suspend()
    cluster.start("a", "transfer")
    wait_until(lambda: finished(cluster), "another finishes the batch", 60)
    for each in frozen:
        each.resume()
    sender.send_signal(signal.SIGTERM)
    sender.wait(40)
    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"]) == (RECORDS, 0)
    assert cluster.command("doctor").returncode == 0


@pytest.mark.slow
def test_the_kernel_of_a_killed_sender_delivers_nothing_that_is_sent_again(cluster, api):
    """The body lies in its socket's buffer, behind a server that reads slowly."""
    cluster.env["BAKEHOUSE_DOUBT_GRACE"] = "0.5"  # shorter than the server takes to read what the kernel holds
    killed, sender = send_slowly(cluster, api, "closing", size=1_000, seconds=0.5)
    for each in killed:
        each.kill()
    sender.wait(10)
    cluster.start("a", "transfer")
    wait_until(lambda: finished(cluster), "another sends and finishes the batch", 60)
    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"]) == (RECORDS, 0)
