"""examples/moderation: the sweep of the evening, begun by the forum's own beat, and harmless to repeat."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from clocks import Wall
from journey_machine import wait_until

from bakehouse_emulator import Running


@pytest.mark.slow
def test_a_sweep_that_is_called_twice_marks_every_post_and_sends_it_once(follow):
    reader = follow("moderation")
    system, worker, sweep, look = reader.blocks()
    [table] = reader.blocks("text")
    reader.start("system", system, "bakehouse is up")
    reader.start("worker", worker, "ready.")
    reader.run(sweep)
    called = "Task sweep.sweep[0-9a-f-]+. succeeded in"
    posts = look.partition("bakehouse status")[0]
    wait_until(lambda: reader.run(posts) == table, "the posts have the verdicts of the page")
    wait_until(lambda: len(re.findall(r"sweep\.sweep\[.*succeeded in", reader.said("worker"))) == 2, called)
    assert "moderation: 4 records" in reader.run(look)
    port = (reader.here / ".bakehouse/emulator/port").read_text().strip()
    assert Running(f"http://127.0.0.1:{port}").totals()["accepted"] == 4


def test_the_forums_beat_rings_for_the_sweep_at_six_in_the_evening_and_not_before(follow, tmp_path):
    reader, wall, ahead = follow("moderation"), Wall(tmp_path / "wall"), timedelta()

    def step_to(hour, minute, second):
        nonlocal ahead
        now = datetime.now(UTC) + ahead
        step = round((now.replace(hour=hour, minute=minute, second=second) - now).total_seconds())
        wall.step(step)
        ahead += timedelta(seconds=step)

    def rung():
        return reader.said("beat").count("Sending due task every evening (sweep.sweep)")

    step_to(12, 0, 0)
    beat = "cd examples/moderation && exec celery -A sweep beat --max-interval 1 --loglevel DEBUG"
    reader.start("beat", beat, "Waking up", **wall.env)
    step_to(17, 59, 0)
    woken = reader.said("beat").count("Waking up")
    wait_until(lambda: reader.said("beat").count("Waking up") > woken + 1, "it looks at the clock")
    assert rung() == 0
    step_to(17, 59, 59)
    wait_until(rung, "it is six")
    messages = reader.here / "forum-messages"
    wait_until(lambda: any("sweep.sweep" in file.read_text() for file in messages.iterdir()), "its message lies there")
