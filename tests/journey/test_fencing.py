"""Senders that stop or die with a create half out, as processes, while others take over what they held."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import psutil
import pytest
from cluster import Cluster
from journey_machine import wait_until

from bakehouse_worker.store import reading
from bakehouse_worker.store.database import open_database

RECORDS = 1_500


@pytest.fixture
def cluster(tmp_path, api, server):
    # the grace is longer than the slow server takes to read what it was given; and all records are one batch, however slowly they come
    terms = {"lease": 3, "create_timeout": 30, "doubt_grace": 20, "max_batch_requests": RECORDS, "linger": 60}
    made = Cluster(tmp_path, api, server.url, "", auto_migrate="true", **terms)
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
    wait_until(lambda: cluster.ready("a"), "all work")
    cluster.enqueue(RECORDS, size)
    wait_until(lambda: batches(cluster) == [state], f"the batch is {state}", 40)
    sender = cluster.processes.pop(("a", "transfer"))
    return [psutil.Process(sender.pid), *psutil.Process(sender.pid).children(recursive=True)], sender


def freeze(processes, cluster):
    """Stop processes, but not within one of SQLite's transactions, which last milliseconds: it would hold up everybody."""

    def frozen_outside_a_transaction():
        for each in processes:
            each.suspend()
        with closing(
            sqlite3.connect(cluster.home / "a" / "bakehouse.sqlite", timeout=1, isolation_level=None)
        ) as store:
            try:
                store.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                for each in processes:
                    each.resume()
                return False
            store.execute("ROLLBACK")
        return True

    wait_until(frozen_outside_a_transaction, "they stand still with the database free", 20)


def finished(cluster):
    return not batches(cluster) and f"{RECORDS:,} succeeded" in cluster.command("status").stdout


@pytest.mark.slow
@pytest.mark.parametrize(("state", "size", "seconds"), [("uploading", 8_000, 0.1), ("closing", 1_000, 0.25)])
def test_a_sender_that_is_frozen_until_another_has_finished_its_batch_changes_nothing_when_it_wakes(
    cluster, api, state, size, seconds
):
    frozen, sender = send_slowly(cluster, api, state, size=size, seconds=seconds)
    freeze(frozen, cluster)
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
def test_what_a_killed_sender_left_in_a_socket_behind_a_slow_server_is_accepted_once(cluster, api):
    """The body lies in its socket's buffer, behind a server that reads slowly."""
    cluster.env["BAKEHOUSE_DOUBT_GRACE"] = (
        "20"  # longer than the server takes to read what it was given before the kill
    )
    killed, sender = send_slowly(cluster, api, "closing", size=1_000, seconds=0.25)
    for each in killed:
        each.kill()
    sender.wait(10)
    cluster.start("a", "transfer")
    wait_until(lambda: finished(cluster), "another sends and finishes the batch", 60)
    totals = api.totals()
    assert (totals["accepted"], totals["accepted_twice"]) == (RECORDS, 0)
