"""examples/own_celery: the shop's own worker is told of every answer, reads it, and writes it down."""

from __future__ import annotations

import json

import pytest
from journey_machine import wait_until


@pytest.mark.slow
def test_the_tasks_of_the_shops_own_worker_read_the_answers_by_the_ids_that_they_are_sent(follow):
    reader = follow("own_celery")
    system, worker, ask = reader.blocks()
    [table] = reader.blocks("text")
    reader.start("system", system, "bakehouse is up")
    reader.start("worker", worker, "ready.")
    assert [line.split()[1] for line in reader.run(ask).splitlines()] == ["waiting"] * 3
    wait_until(lambda: reader.run(ask) == table, "the routes are those of the page")

    told = {"job": "routing", "custom_id": "ticket-42", "status": "succeeded", "delivery_id": "again"}
    before = reader.said("worker").count("succeeded in")
    reader.run(f"cd examples/own_celery && celery -A shop call shop.save --kwargs '{json.dumps(told)}'")
    wait_until(lambda: reader.said("worker").count("succeeded in") > before, "a message came twice")
    assert reader.run(ask) == table
    log = "".join(file.read_text() for file in (reader.here / ".bakehouse/logs").iterdir()) + reader.said("worker")
    assert "shop.save" in log
    assert not [text for text in ("charged twice", "Route this") if text in log]
