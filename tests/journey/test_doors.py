"""Handlers in the real deliver worker: they raise, hang, crash and are killed, and every outcome is delivered or given up by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
import redis
from journey_machine import wait_until
from sqlalchemy import text

from bakehouse import Client
from bakehouse_worker.store.database import open_database

SHOP = textwrap.dedent(
    """
    import ctypes, os, pathlib, signal, time
    from sqlalchemy import text
    from bakehouse import handler

    HOME = pathlib.Path(__file__).parent

    def note(file, word):
        with (HOME / file).open("a") as lines:
            lines.write(word + "\\n")

    def save(outcome):
        number = int(outcome.custom_id)
        if not (HOME / "mended").exists():
            if number % 33 == 0:
                raise ValueError("SECRET: no room for this one")
            if number == 50:
                note("hung", "again")
                time.sleep(600)
            if number == 51:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as some C code hangs: no signal gets through
                time.sleep(600)
            if number == 52:
                os._exit(7)
        assert outcome.text.startswith("answer to "), outcome
        note("saved", outcome.custom_id)

    @handler(transaction=True, timeout=5)
    def book(outcome, session):
        session.execute(text("INSERT INTO effect VALUES (:id)"), {"id": outcome.custom_id})
        session.flush()
        note("inside", str(os.getpid()))
        while not (HOME / "go").exists():
            time.sleep(0.05)
    """
)

SETTINGS = {
    "BAKEHOUSE_LEASE": "2",
    "BAKEHOUSE_DELIVER_TIMEOUT": "1",
    "BAKEHOUSE_MAX_ATTEMPTS": "2",
    "BAKEHOUSE_RETRY_BASE": "0.1",
    "BAKEHOUSE_IMPORTS": "shop",
}


@pytest.fixture
def shop(machine):
    (machine.home / "shop.py").write_text(SHOP)
    machine.env |= {**SETTINGS, "PYTHONPATH": os.pathsep.join([str(machine.home), *sys.path])}

    def start(**env):
        process = machine.start("up", "--flower-port", "0", **env)
        wait_until((machine.home / ".bakehouse" / "redis.url").exists, "the system is up")
        return process, Client(data_dir=machine.home / ".bakehouse")

    return start


def words(machine, file):
    path = machine.home / file
    return path.read_text().split() if path.exists() else []


def enqueue(client, numbers, on_result, job="shop"):
    params = {"model": "claude-haiku-5-5", "max_tokens": 16}
    client.enqueue_records(
        {
            "custom_id": str(n),
            "params": {**params, "messages": [{"role": "user", "content": f"item {n}"}]},
            "on_result": on_result,
        }
        for n in numbers
    )


def undelivered(machine):
    return {
        letter["error"].partition(":")[0]: letter
        for letter in json.loads(machine.run("dead", "list", "--deliveries", "--json").stdout)
    }


def deliveries(machine):
    return json.loads(machine.run("status", "--json").stdout)["deliveries"]


@pytest.mark.timeout(180)
def test_of_two_hundred_outcomes_those_that_raise_hang_or_crash_are_given_up_and_all_others_delivered(
    shop, machine, api
):
    _, client = shop()
    enqueue(client, range(200), "shop:save")
    bad = {str(n) for n in (*range(0, 200, 33), 50, 51, 52)}
    wait_until(lambda: deliveries(machine) == {"waiting": 0, "failed": len(bad)}, "all are delivered or given up", 150)
    saved = words(machine, "saved")
    assert set(saved) == {str(n) for n in range(200)} - bad
    assert len(saved) < 200 + 200  # at least once: those in hand when the process ended may have come twice
    listed = machine.run("dead", "list", "--deliveries").stdout
    assert f"{len(bad)} outcomes to shop:save" in listed
    for log in (machine.home / ".bakehouse" / "logs").iterdir():
        assert "SECRET" not in log.read_text(errors="replace"), log
    (machine.home / "mended").touch()
    again = machine.run("dead", "requeue", "--deliveries", "--all", "--yes")
    assert again.stdout == f"requeued: {len(bad)} outcomes\n", again.stderr
    wait_until(lambda: bad <= set(words(machine, "saved")), "what was given up is delivered", 60)
    assert api.totals()["accepted"] == 200  # nothing was billed again by any of it
    assert api.totals()["billed"] == 200


@pytest.mark.timeout(180)
def test_a_worker_killed_between_a_transactional_handlers_write_and_its_mark_leaves_one_effect(
    shop, machine, new_database
):
    url = new_database()
    machine.env |= {"BAKEHOUSE_DATABASE_URL": url, "BAKEHOUSE_MAX_ATTEMPTS": "20"}
    _, client = shop()
    database = open_database(url, machine.home / ".bakehouse" / "bakehouse.sqlite")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE effect (custom_id TEXT)"))
    enqueue(client, [1], "shop:book")
    for round_ in range(2):
        wait_until(lambda n=round_: len(words(machine, "inside")) > n, "the handler has written", 60)
        pid = int(words(machine, "inside")[-1])
        worker = psutil.Process(pid).parent() if round_ else psutil.Process(pid)
        os.kill(worker.pid, signal.SIGKILL)  # the pool's process, and then the whole worker
        assert machine.run("status").returncode == 0
    wait_until(lambda: len(words(machine, "inside")) > 2, "a third worker has taken it over", 60)
    (machine.home / "go").touch()

    def effects():
        with database.read() as connection:
            return connection.scalar(text("SELECT count(*) FROM effect"))

    wait_until(effects, "the effect is there", 60)
    wait_until(lambda: deliveries(machine) == {"waiting": 0, "failed": 0}, "and its mark")
    assert effects() == 1
    database.close()


TASKS = textwrap.dedent(
    """
    import os, pathlib
    from celery import Celery
    from bakehouse import get_outcome

    app = Celery("market", broker=os.environ["MARKET_BROKER"])
    app.conf.task_ignore_result = True
    app.conf.broker_connection_retry_on_startup = True

    @app.task(name="market.save")
    def save(job, custom_id, status, delivery_id):
        outcome = get_outcome(custom_id, job=job)
        with pathlib.Path(__file__).with_name("saved").open("a") as lines:
            lines.write(f"{custom_id} {status} {delivery_id} {outcome.status} {outcome.text.split()[0]}\\n")
    """
)


@pytest.mark.timeout(180)
def test_outcomes_become_tasks_of_the_applications_own_celery_app_and_carry_ids_alone(shop, machine, server):
    """The application's broker is down at first: its outcomes wait, and are published when it is back."""
    (machine.home / "market.py").write_text(TASKS)
    machine.env |= {
        "BAKEHOUSE_CELERY_APP": "market:app",
        "MARKET_BROKER": server.url,
        "BAKEHOUSE_MAX_ATTEMPTS": "50",
        "BAKEHOUSE_DELIVER_TIMEOUT": "5",
    }
    server.kill()
    _, client = shop()
    enqueue(client, range(30), "task:market.save@answers")
    wait_until(lambda: deliveries(machine)["waiting"] == 30, "the answers are there, and the broker is not")
    server.start()
    broker = redis.Redis.from_url(server.url)
    wait_until(lambda: broker.llen("answers") == 30, "all are published", 60)
    assert all(b"answer to" not in message and b"item" not in message for message in broker.lrange("answers", 0, -1))
    argv = [sys.executable, "-m", "celery", "-A", "market", "worker", "-Q", "answers", "-P", "solo", "-l", "WARNING"]
    worker = subprocess.Popen(argv, cwd=machine.home, env=machine.env, start_new_session=True)
    try:
        wait_until(lambda: len(words(machine, "saved")) == 30 * 5, "the application's own worker has worked on them")
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    lines = (machine.home / "saved").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {str(n) for n in range(30)}
    assert {(line.split()[1], *line.split()[3:]) for line in lines} == {("succeeded", "succeeded", "answer")}
    assert deliveries(machine) == {"waiting": 0, "failed": 0}
