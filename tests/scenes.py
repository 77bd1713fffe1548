"""An installation in trouble, made through the stations: something of everything that `status` tells."""

from __future__ import annotations

import os
import subprocess
import sys

from sqlalchemy import text

from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.store import holds
from bakehouse_worker.submit import submit

#: Settings of a world for `in_trouble`.
SETTINGS = {"linger": 120, "retry_base": 1800}
PARKED = "claude-opus-5-5 cannot be used in batches"


def on_result(fault, prompt, kind=None, message=None):
    told = {"type": kind, "message": message} if kind else {}
    return {"on": "result", "fault": fault, "prompt": prompt, **told}


def in_trouble(world):
    """Two jobs: one with answers, failures, refusals and backoff, one with batches in flight, in doubt and behind a circuit."""
    too_long = "messages.0.content.0.text: prompt is too long: 1,204,511 tokens > 1,000,000 maximum for this model"
    world.server.rules(
        on_result("errored", "bad", "invalid_request_error", too_long),
        on_result("errored", "old", "not_found_error", "model: claude-haiku-1"),
        on_result("errored", "busy", "overloaded_error", "Overloaded"),
        on_result("refusal", "refused"),
    )
    for number in range(6):
        world.client.enqueue_record(world.params("word " * 20_000), custom_id=f"item {number}", job="articles")
    for kind, count in (("bad", 2), ("old", 1), ("busy", 3), ("refused", 2)):
        world.enqueue(count, job="articles", text=kind)
    send(world)
    world.pass_time(61)
    world.tick()

    world.enqueue(4, job="reviews", text="first")
    send(world)
    world.server.rules({"on": "create", "fault": "gateway_timeout", "accepted": True, "times": 1})
    world.enqueue(5, job="reviews", text="second")
    send(world)
    world.server.rules({"on": "create", "fault": "billing", "times": 1})
    world.enqueue(6, job="reviews", text="third")
    send(world)

    database = world.runtime.database
    holds.park(database, holds.MODEL, "claude-opus-5-5", PARKED)
    for number in range(2):
        params = {**world.params(f"opus {number}"), "model": "claude-opus-5-5"}
        world.client.enqueue_record(params, custom_id=f"opus {number}", job="articles")
    world.enqueue(3, job="articles", text="late")
    accept(world.runtime)
    world.pass_time(40)
    holds.put(database, "ticked_at", repr(database.now()))


def send(world):
    """Accept, wait for LINGER, pack and try to send once."""
    accept(world.runtime)
    world.pass_time(world.settings.linger + 1)
    for batch in chunk(world.runtime):
        submit(world.runtime, batch)


def change(world, statement):
    """Run one statement past all verbs; it must touch a row."""
    with world.runtime.database.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0, statement


def environment(world):
    """What a command of its own process needs to look at a world."""
    return {
        **os.environ,
        "BAKEHOUSE_DATA_DIR": str(world.home),
        "BAKEHOUSE_REDIS_URL": world.redis_url,
        "BAKEHOUSE_REDIS_PREFIX": world.prefix,
        "BAKEHOUSE_DATABASE_URL": world.database_url,
        "COLUMNS": "80",
    }


def command(world, *words):
    """Run a command as a person would, in a process of its own."""
    argv = [sys.executable, "-m", "bakehouse_worker", *words]
    return subprocess.run(argv, env=environment(world), capture_output=True, text=True, timeout=60)
