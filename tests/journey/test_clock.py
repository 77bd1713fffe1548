"""Somebody sets the clock by an hour while work is under way: nothing is sent twice, and nothing waits for the hour."""

from __future__ import annotations

import pytest
from clocks import Wall
from cluster import Cluster
from journey_machine import wait_until

from bakehouse_worker.store import reading
from bakehouse_worker.store.database import open_database

HOUR = 3600.0
RECORDS = 60
#: Seconds of this test for which the API's list does not show a batch that it has taken; the grace is longer.
LAG, GRACE = 4, 12


@pytest.fixture
def wall(tmp_path):
    return Wall(tmp_path / "wall")


@pytest.fixture
def cluster(tmp_path, api, server, wall, new_database):
    if url := new_database():
        wall.join(url)
    settings = {"auto_migrate": "true", "lease": 3, "create_timeout": 5, "doubt_grace": GRACE, "max_batch_requests": 20}
    made = Cluster(tmp_path, api, server.url, url, **settings)
    made.env.update(wall.env)
    yield made
    made.stop()


def states(cluster):
    database = open_database(cluster.env["BAKEHOUSE_DATABASE_URL"], cluster.home / "a" / "bakehouse.sqlite")
    try:
        return [view.state for view in reading.live_batches(database)]
    finally:
        database.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("new_database", "hour"),
    [("sqlite", -HOUR), ("postgresql", HOUR)],
    indirect=["new_database"],
    ids=["back", "forward"],
)
def test_a_clock_that_is_set_by_an_hour_sends_nothing_twice_and_makes_nothing_wait(cluster, api, wall, hour):
    api.rules(
        {"on": "create", "fault": "lost_after_acceptance", "times": 1},
        {"on": "list", "fault": "lagging", "seconds": LAG * 60, "times": None},
        {"on": "result", "fault": "errored", "prompt": "item 7 ", "first_times": 1, "times": None},
    )
    cluster.start_host("a")
    wait_until(lambda: cluster.ready("a"), "all work")
    cluster.enqueue(RECORDS, 100)
    wait_until(lambda: "in_doubt" in states(cluster), "a create is in doubt", 30)
    wall.step(hour)
    done = f"{RECORDS:,} succeeded"
    wait_until(lambda: not states(cluster) and done in cluster.command("status").stdout, "all have their end", 60)
    totals = api.totals()
    assert (totals["accepted"], totals["billed_twice"]) == (RECORDS + 1, 0)  # item 7 failed once
    assert cluster.command("doctor").returncode == 0
