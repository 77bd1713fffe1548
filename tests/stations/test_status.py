"""`status`: one screen that says what waits and for what, what is in flight, what failed and why, and what it cost."""

from __future__ import annotations

import pytest
import scenes
import snapshots

from bakehouse_worker import status

DAY = 86_400.0


@pytest.fixture
def trouble(make_world):
    world = make_world(**scenes.SETTINGS)
    scenes.in_trouble(world)
    return world


def screen(world, width=80, **more):
    return "\n".join(status.told(status.take(world.runtime), width, **more))


def test_the_screen_is_the_one_that_was_found_good(trouble):
    snapshots.matches("status", screen(trouble))


def test_a_month_later_what_the_api_is_about_to_delete_comes_first(trouble, monkeypatch):
    trouble.clock.now += 27.5 * DAY
    snapshots.matches("status-a-month-later", screen(trouble))
    monkeypatch.setattr(trouble, "books_agree", lambda: None)  # `doctor` says so, too


def test_a_record_with_several_failed_attempts_is_told_as_was_found_good(make_world):
    world = make_world(max_attempts=3)
    world.server.rules(
        scenes.on_result("errored", "item 0", "overloaded_error", "Overloaded") | {"times": 1},
        scenes.on_result("errored", "item 0", "api_error", "Internal server error"),
    )
    world.enqueue(1)
    assert world.run_to_end()["failed"] == 1
    told = scenes.command(world, "show", "item 0")
    assert (told.returncode, told.stderr) == (0, "")
    snapshots.matches("show", told.stdout)
