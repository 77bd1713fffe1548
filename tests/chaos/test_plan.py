"""What a seed becomes, and the points at which a process ends: checked without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from chaos import plan as plans
from chaos import table
from chaos.points import EXIT, Board

from bakehouse_worker.store import holds
from bakehouse_worker.store.database import open_database

POINTS = [f"station{number}:{side}:verb:1" for number in range(13) for side in ("after", "before")]

WORK = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from chaos import points
    from bakehouse_worker import schema
    from bakehouse_worker.store import holds
    from bakehouse_worker.store.database import open_database
    from celery import signals

    home = Path(sys.argv[1])
    database = open_database("", home / "x.sqlite")
    schema.ensure(database, auto_migrate=True)
    points.install(home / "board")
    class Task:
        name = "bakehouse.tick"
    signals.task_prerun.send(None, task=Task)
    holds.put(database, "a", "1")
    holds.put(database, "b", "2")
    holds.get(database, "a")
    signals.task_postrun.send(None, task=Task)
    holds.put(database, "c", "3")
    print("worked")
    """
)


def work(home):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", WORK, str(home)], env=env, capture_output=True, text=True)


def stored(home):
    database = open_database("", home / "x.sqlite")
    try:
        return [name for name in "abc" if holds.get(database, name)]
    finally:
        database.close()


def test_a_seed_is_always_the_same_plan_and_another_seed_another():
    assert plans.plan(7, POINTS) == plans.plan(7, POINTS) != plans.plan(8, POINTS)


def test_a_plan_is_read_as_it_was_written(tmp_path):
    made = plans.plan(3, POINTS)
    made.write(tmp_path / "plan.json")
    assert plans.read(tmp_path / "plan.json") == made


def test_every_point_has_its_turn_within_one_round():
    round_of_plans = [plans.plan(seed, POINTS) for seed in range(-(-len(POINTS) // plans.CRASHES))]
    ends = {fault.how["point"] for each in round_of_plans for fault in each.faults if fault.how.get("do") == EXIT}
    assert ends == set(POINTS)


def test_commits_that_write_in_a_task_are_points_and_no_others(tmp_path):
    assert work(tmp_path).stdout == "worked\n"
    sides = [f"tick:{side}:holds.put:{count}" for side in ("after", "before") for count in (1, 2)]
    assert Board(tmp_path / "board").points() == sides


def test_a_process_ends_before_or_after_the_commit_that_it_was_told_of_and_once(tmp_path):
    board = Board(tmp_path / "board")
    for point, there in (("tick:before:holds.put:1", []), ("tick:after:holds.put:2", ["a", "b"])):
        board.arm(point, EXIT)
        ended = work(tmp_path)
        assert (ended.returncode, ended.stdout, stored(tmp_path)) == (137, "", there)
    assert {point for _, point, _ in board.strikes().values()} == {"tick:before:holds.put:1", "tick:after:holds.put:2"}
    assert work(tmp_path).stdout == "worked\n"


def test_the_table_adds_up_what_the_runs_with_a_fault_counted():
    run = {"lost": 0, "billed_twice": 0, "sent_twice": 0, "undelivered": 0, "good": True, "without": ""}
    outcomes = [
        {**run, "seed": 1, "enqueued": 300, "recovery": 1.0, "fired": {"kill beat": 1}},
        {
            **run,
            "seed": 2,
            "enqueued": 500,
            "recovery": 2.5,
            "fired": {"kill beat": 2, "exit at x": 1},
            "lost": 1,
            "good": False,
        },
    ]
    told = table.tables(outcomes, {"kill beat", "flush redis"})
    assert "2 seeds, 800 records, 4 faults: lost 1, " in told and "seeds that went wrong: 2" in told
    assert "Never fired in these runs: flush redis." in told
    assert "| kill beat | 3 | 2 | 800 | 1 | 0 | 0 | 2.5 s |" in told
    assert "| exit at x | 1 | 1 | 500 | 1 | 0 | 0 | 2.5 s |" in told
