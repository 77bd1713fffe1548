"""What the API is about to delete, and what should have ended, is told in time: by `status`, by `doctor` and by metrics."""

from __future__ import annotations

import pytest
import scenes

from bakehouse_worker import status
from bakehouse_worker.cli import looking
from bakehouse_worker.metrics import InstallationCollector
from bakehouse_worker.rescue import rescue
from bakehouse_worker.store import holds
from bakehouse_worker.store.uncollected import uncollected
from bakehouse_worker.submit import submit

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def later(world, seconds):
    """Let time pass while beat ticks and nobody polls or collects, each with a good reason."""
    world.pass_time(seconds)
    now = world.runtime.database.now()
    holds.put(world.runtime.database, "ticked_at", repr(now))
    scenes.change(world, f"UPDATE batch SET not_before = {now}, next_poll_at = {now}")


def metrics(world):
    families = InstallationCollector(world.runtime).collect()
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def alarms(world, monkeypatch, capsys):
    """What each of the three says now: the line of the screen, the exit code and its BAD lines, the counts by kind."""
    lines = [line for line in status.told(status.take(world.runtime), 400) if "ALARM:" in line]
    monkeypatch.setattr(looking, "store", lambda _: world.runtime)
    with pytest.raises(SystemExit) as ended:
        looking.doctor()
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    found = metrics(world)
    counts = {kind: found["bakehouse_batch_alarms", kind] for kind in ("results", "stuck")}
    return lines, (ended.value.code, bad), counts


NOTHING = ([], (0, []), {"results": 0, "stuck": 0})


@pytest.fixture
def world(make_world, monkeypatch):
    made = make_world()
    yield made
    monkeypatch.setattr(made, "books_agree", lambda: None)  # they do not, on purpose


def test_uncollected_results_alarm_two_days_before_they_go_and_not_a_day_earlier(world, monkeypatch, capsys):
    world.ended(3)
    later(world, 26 * DAY - 61)
    assert alarms(world, monkeypatch, capsys) == NOTHING
    assert metrics(world)["bakehouse_results_expire_seconds",] == pytest.approx(3 * DAY, abs=1)
    later(world, DAY + 1)
    lines, (code, bad), counts = alarms(world, monkeypatch, capsys)
    told = "is not collected, and the API deletes its results in 48.0 h"
    assert lines == [f"  batch 1 (3 requests) ALARM: {told}"]
    assert (code, bad) == (1, [f"BAD  retention: batch 1 {told}"])
    assert counts == {"results": 1, "stuck": 0}
    assert metrics(world)["bakehouse_results_expire_seconds",] == pytest.approx(2 * DAY - 1, abs=1)


def test_results_that_are_gone_by_now_are_told_so(world, monkeypatch, capsys):
    world.ended(3)
    later(world, 30 * DAY)
    lines, (code, bad), _ = alarms(world, monkeypatch, capsys)
    assert code == 1
    assert all("the API deletes its results by now" in line for line in (*lines, *bad))
    assert metrics(world)["bakehouse_results_expire_seconds",] < 0


def test_collected_results_never_alarm(world, monkeypatch, capsys):
    world.enqueue(3)
    world.run_to_end()
    world.pass_time(28 * DAY)
    holds.put(world.runtime.database, "ticked_at", repr(world.runtime.database.now()))
    assert alarms(world, monkeypatch, capsys) == NOTHING
    assert ("bakehouse_results_expire_seconds",) not in metrics(world)


def test_a_batch_that_should_have_expired_alarms_once_the_polls_had_their_time(world, monkeypatch, capsys):
    world.submitted(3)
    later(world, DAY + 9 * MINUTE)
    assert alarms(world, monkeypatch, capsys) == NOTHING
    later(world, 2 * MINUTE)
    lines, (code, bad), counts = alarms(world, monkeypatch, capsys)
    assert "is in_progress since 24.2 h, expired or stuck" in lines[0]
    assert code == 1
    assert [line.split(":")[0] for line in bad] == ["BAD  expiry"]
    assert counts == {"results": 0, "stuck": 1}


def test_a_batch_whose_expiry_is_not_known_alarms_an_hour_after_its_day(world, monkeypatch, capsys):
    world.submitted(3)
    scenes.change(world, "UPDATE batch SET expires_at = NULL")
    later(world, DAY + 59 * MINUTE)
    assert alarms(world, monkeypatch, capsys) == NOTHING
    later(world, 2 * MINUTE)
    assert alarms(world, monkeypatch, capsys)[2] == {"results": 0, "stuck": 1}


def test_a_batch_in_progress_whose_results_are_about_to_go_alarms_for_them(world, monkeypatch, capsys):
    world.submitted(3)
    later(world, 28 * DAY)
    assert alarms(world, monkeypatch, capsys)[2] == {"results": 1, "stuck": 0}


def test_the_time_counts_from_the_creation_by_the_apis_clock_and_not_from_our_finding_it(world):
    world.server.rules({"on": "create", "fault": "gateway_timeout", "accepted": True, "times": 1})
    (batch,) = world.packed(3)
    sent = world.runtime.database.now()
    assert submit(world.runtime, batch) == "in doubt"
    world.pass_time(10 * HOUR)
    assert rescue(world.runtime) == 1
    (found,) = uncollected(world.runtime.database)
    assert found.created_at == pytest.approx(sent, abs=1)
    assert found.expires_at == pytest.approx(sent + DAY, abs=1)


def test_a_batch_without_the_apis_time_counts_from_its_submission_by_ours(world):
    world.submitted(3)
    scenes.change(world, "UPDATE batch SET remote_created_at = NULL")
    (found,) = uncollected(world.runtime.database)
    assert found.created_at == world.runtime.database.now()
