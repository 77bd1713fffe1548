"""One role per process: what their heartbeats tell, and what becomes of work in hand when one is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from cluster import ROLES, Cluster
from journey_machine import wait_until

from bakehouse import Client, InboxUnavailable
from bakehouse.connection import connect
from bakehouse.contract import Keys
from bakehouse_worker import health
from bakehouse_worker.store import reading
from bakehouse_worker.store.database import open_database


@pytest.fixture
def cluster(tmp_path, api, server):
    made = Cluster(tmp_path, api, server.url, "", auto_migrate="true", lease=60)
    yield made
    made.stop()


def verdict(cluster, role, *options):
    told = cluster.command("health", role, *options)
    return told.returncode, told.stdout.strip()


def live_batches(cluster):
    database = open_database("", cluster.home / "a" / "bakehouse.sqlite")
    try:
        return reading.live_batches(database)
    finally:
        database.close()


def test_health_turns_red_for_every_process_that_is_killed_or_frozen_and_says_which(cluster, server):
    for role in ROLES:
        assert verdict(cluster, role) == (1, f"{role}: none runs on {cluster.home}/a/")
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    frozen = cluster.processes["a", "transfer"].pid
    os.kill(frozen, signal.SIGSTOP)
    stopped_at = time.monotonic()
    for role in ("control", "deliver", "beat"):
        process = cluster.processes["a", role].pid
        cluster.kill("a", role)
        assert verdict(cluster, role) == (1, f"{role} (process {process}) is gone, and was not stopped")
    wait_until(lambda: verdict(cluster, "transfer")[0] == 1, "a frozen process is noticed", health.STALE + 10)
    assert time.monotonic() - stopped_at > health.STALE - health.BEAT
    os.kill(frozen, signal.SIGCONT)
    cluster.start("a", "control")
    wait_until(lambda: verdict(cluster, "control", "--ready")[0] == 0, "a new start takes the dead one's place", 30)


def test_a_worker_that_waits_for_redis_lives_and_is_not_ready(cluster, server):
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    server.kill()
    for role in ROLES:
        wait_until(lambda role=role: verdict(cluster, role, "--ready")[0] == 1, f"{role} is not ready", 20)
        assert verdict(cluster, role)[0] == 0
    server.start()
    wait_until(lambda: cluster.ready("a"), "all work again")


def test_a_worker_told_to_stop_hands_back_its_upload_at_once_and_leaves_no_heartbeat(cluster, api):
    api.rules({"on": "create", "fault": "slow_read", "seconds": 0.1, "times": 1})
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    cluster.enqueue(2_000, 6_000)
    wait_until(lambda: [b.state for b in live_batches(cluster)] == ["uploading"], "it uploads", 30)
    transfer = cluster.processes.pop(("a", "transfer"))
    transfer.terminate()
    assert transfer.wait(20) == 0
    assert [b.state for b in live_batches(cluster)] == ["packed"]
    assert verdict(cluster, "transfer") == (1, f"transfer: none runs on {cluster.home}/a/")
    cluster.start("a", "transfer")
    wait_until(lambda: not live_batches(cluster), "another worker goes on long before the lease ends", 30)
    assert (api.totals()["accepted"], api.totals()["accepted_twice"]) == (2_000, 0)


def test_a_worker_that_cannot_finish_ends_within_its_grace_and_its_create_is_found_again(cluster, api):
    api.rules({"on": "create", "fault": "slow_answer", "seconds": 15, "times": 1})
    cluster.env |= {"BAKEHOUSE_STOP_GRACE": "2", "BAKEHOUSE_LEASE": "3"}
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    cluster.enqueue(5, 10)
    wait_until(lambda: [b.state for b in live_batches(cluster)] == ["closing"], "the answer is awaited", 30)
    transfer = cluster.processes.pop(("a", "transfer"))
    transfer.terminate()
    transfer.wait(6)
    cluster.start("a", "transfer")
    wait_until(lambda: not live_batches(cluster), "the batch is found in the API's list", 30)
    assert (api.totals()["accepted"], api.totals()["accepted_twice"]) == (5, 0)


def test_plain_celery_runs_the_same_worker_and_beat(cluster, server):
    celery = [sys.executable, "-m", "celery", "-A", "bakehouse_worker.app"]
    started = [
        subprocess.Popen([*celery, *words], env=cluster.on("a"), cwd=cluster.home, stderr=subprocess.DEVNULL)
        for words in (["worker", "-Q", "control,transfer,deliver", "-c", "2", "-l", "INFO"], ["beat"])
    ]
    try:
        both = ("control+transfer+deliver", "beat")
        wait_until(lambda: cluster.command("health", *both, "--ready").returncode == 0, "both work", 30)
        cluster.enqueue(5, 10)
        wait_until(lambda: "5 succeeded" in cluster.command("status").stdout, "all have their answers", 30)
    finally:
        for process in started:
            process.terminate()
        assert [process.wait(20) for process in started] == [0, 0]


def test_a_worker_that_cannot_work_says_why_in_one_sentence(cluster):
    wrong = cluster.command("worker", "--queues", "contrl")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "bakehouse: --queues: 'contrl' is not a queue; there are control, transfer, deliver\n",
    )
    cluster.env["BAKEHOUSE_IMPORTS"] = "nowhere.labels"
    missing = cluster.command("worker", "--queues", "deliver")
    assert (missing.returncode, missing.stderr.splitlines()[-1]) == (
        2,
        "bakehouse: BAKEHOUSE_IMPORTS: nowhere.labels cannot be imported (ModuleNotFoundError: No module named 'nowhere')",
    )
    assert "Traceback" not in missing.stderr
    cluster.env["BAKEHOUSE_DATABASE_URL"] = "postgresql://ann:secret@127.0.0.1:9/none"
    for words in (["worker", "--queues", "control"], ["worker"]):
        gone = cluster.command(*words)
        assert gone.returncode == 2
        assert gone.stderr.startswith("bakehouse: the database at postgresql") and len(gone.stderr.splitlines()) == 1
        assert "secret" not in gone.stderr


def test_a_redis_that_is_full_is_emptied_by_the_workers_and_takes_records_again(cluster, server):
    """Full, it takes no doorbell either, and no worker that comes up: nobody could be told to empty it."""
    connection = connect(server.url)
    connection.config_set("maxmemory", connection.info("memory")["used_memory"] + 4_000_000)
    client = Client(server.url)
    params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "x" * 2_000}]}
    enqueued = 0
    with pytest.raises(InboxUnavailable, match="Redis is full"):
        for number in range(100_000):
            client.enqueue_record(params | {"metadata": {"user_id": str(number)}}, custom_id=f"r{number}", job="job")
            enqueued += 1
    cluster.start("a", "worker")
    cluster.start("a", "beat")
    wait_until(lambda: f"{enqueued:,} succeeded" in cluster.command("status").stdout, "all have their answers", 90)
    client.enqueue_record(params, custom_id="one more", job="job")
    wait_until(lambda: f"{enqueued + 1:,} succeeded" in cluster.command("status").stdout, "one more", 60)
    assert connection.get(Keys("bakehouse").inbox_bytes) in (None, b"0")


def test_without_beat_the_workers_tick_by_themselves(cluster):
    for role in ("control", "transfer", "deliver"):
        cluster.start("a", role)
    wait_until(lambda: cluster.command("health", "control", "transfer", "--ready").returncode == 0, "they work", 30)
    cluster.enqueue(5, 10)
    wait_until(lambda: "5 succeeded" in cluster.command("status").stdout, "all have their answers", 90)
