"""`status`: one screen that says what waits and for what, what is in flight, what failed and why, and what it cost."""

from __future__ import annotations

import pytest
import scenes
import snapshots

from bakehouse_worker import dead, status
from bakehouse_worker.accept import accept
from bakehouse_worker.store import holds

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


def test_the_dead_letters_are_told_as_was_found_good(trouble):
    told = dead.told(dead.list_dead(trouble.runtime), trouble.clock())
    snapshots.matches("dead-list", "\n".join(told))


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


def test_at_any_width_lines_break_between_words_only(trouble, monkeypatch):
    trouble.clock.now += 27.5 * DAY
    monkeypatch.setattr(trouble, "books_agree", lambda: None)
    whole = " ".join(screen(trouble, 10_000).split())
    for width in (60, 80, 120):
        lines = screen(trouble, width).splitlines()
        assert max(len(line) for line in lines) <= width
        assert " ".join(" ".join(lines).split()) == whole


def test_forty_jobs_stay_readable_those_done_without_trouble_in_one_line(world):
    for number in range(37):
        world.enqueue(1, job=f"quiet{number:02}", text=f"quiet{number}")
    world.run_to_end("quiet36")
    world.server.rules(scenes.on_result("errored", "bad", "invalid_request_error", "no"))
    for name in ("bad1", "bad2"):
        world.enqueue(1, job=name, text=name)
    world.run_to_end("bad2")
    world.enqueue(1, job="going")
    world.tick()
    shown = screen(world).splitlines()
    assert len(shown) < 40
    titles = [line.partition(":")[0] for line in shown if line.endswith(": 1 record, open")]
    assert titles == ["quiet34", "quiet35", "quiet36", "bad1", "bad2", "going"]
    assert any(
        line.startswith("34 more jobs are done without trouble (--all lists them): 34 records") for line in shown
    )
    assert any(line.startswith("all 40 jobs: 40 records") for line in shown)
    everything = screen(world, every_job=True)
    assert all(f"\nquiet{number:02}: 1 record" in everything for number in range(37))


def test_a_full_queue_is_told_as_what_records_wait_for(make_world):
    world = make_world(max_queued_requests=5)
    world.submitted(8)
    shown = screen(world)
    assert "queue    full: 5 requests are packed or at the API" in shown
    assert "waiting  3 for room at the API: MAX_QUEUED_REQUESTS is reached" in shown


def test_a_parked_job_and_a_persons_pause_are_told_with_their_reasons(world):
    world.enqueue(4)
    accept(world.runtime)
    holds.park(world.runtime.database, holds.JOB, "job", "its first records failed")
    holds.hold(world.runtime.database, holds.PAUSED, "until the new prompt is reviewed", None)
    world.pass_time(300)
    shown = screen(world, 200)
    assert (
        "submit   paused (by a person) since 08:00:00 UTC (5 min), no next try: a person must decide: until the"
        in shown
    )
    assert "parked   job job since 08:00:00 UTC (5 min): its first records failed" in shown
    assert "waiting  4 for a person: the job is parked" in shown


def test_more_records_than_a_look_counts_are_still_counted_right_where_one_reason_has_them(world):
    world.client.enqueue_records(
        ({"params": world.params(f"{n}"), "custom_id": f"r{n}"} for n in range(1_200)), job="job"
    )
    accept(world.runtime)
    (job,) = status.take(world.runtime).jobs
    assert [(each.reason, each.records, each.more) for each in job.waiting] == [("packing", 1_200, False)]


def test_what_comes_from_outside_moves_no_cursor_and_breaks_no_line(world):
    world.server.rules(scenes.on_result("errored", "item", "invalid_request_error", "a\x1b[2Jb\nc " + "x" * 500))
    world.enqueue(1)
    world.run_to_end()
    shown = screen(world)
    assert "\x1b" not in shown
    assert "x" * 300 not in shown
