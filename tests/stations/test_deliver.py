"""Station 7: outcomes reach the application's code at least once, and what fails there bills nothing."""

from __future__ import annotations

import sys
import types

import pytest

from bakehouse_worker import deliver as station
from bakehouse_worker.deliver import Tried, deliver


@pytest.fixture
def application(monkeypatch):
    """A module of the application's, with handlers that remember."""
    module = types.ModuleType("an_application")
    module.seen = []
    module.save = module.seen.append

    def fail(outcome):
        module.seen.append(outcome)
        raise RuntimeError("no room")

    module.fail = fail
    monkeypatch.setitem(sys.modules, "an_application", module)
    station.handler.cache_clear()
    return module


def test_each_outcome_is_handed_over_with_what_the_application_gave(world, application):
    world.enqueue(3, on_result="an_application:save", metadata={"ticket": 42})
    world.let_go("none")
    world.client.enqueue_record(world.params(model="none"), custom_id="bad", job="job", on_result="an_application:save")
    world.run_to_end()
    deliver(world.runtime)
    assert sorted(outcome.custom_id for outcome in application.seen) == ["bad", "item 0", "item 1", "item 2"]
    by_id = {outcome.custom_id: outcome for outcome in application.seen}
    assert by_id["item 0"].metadata == {"ticket": 42}
    assert by_id["item 0"].status == "succeeded"
    assert by_id["item 0"].text.startswith("answer to ")
    assert by_id["bad"].status == "failed"
    assert by_id["bad"].error_type == "invalid_request_error"
    assert len({outcome.delivery_id for outcome in application.seen}) == 4


def test_a_handler_that_fails_is_tried_again_and_given_up_and_bills_nothing(make_world, application):
    world = make_world(max_attempts=3)
    world.enqueue(1, on_result="an_application:fail")
    world.run_to_end()
    for _ in range(10):
        world.pass_time(4000)
        deliver(world.runtime)
    assert len(application.seen) == 3
    assert len({outcome.delivery_id for outcome in application.seen}) == 1
    assert world.job().states["succeeded"] == 1
    assert world.server.totals()["accepted"] == 1


def test_a_handler_that_does_not_exist_is_an_error_of_the_delivery_alone(world):
    world.enqueue(1, on_result="no_such_application:save")
    assert world.run_to_end()["succeeded"] == 1


def test_a_worker_that_dies_inside_a_handler_delivers_again_after_its_lease(world, application):
    def die(_outcome):
        raise KeyboardInterrupt

    application.die = die
    world.enqueue(1, on_result="an_application:die")
    with pytest.raises(KeyboardInterrupt):
        world.run_to_end()
        deliver(world.runtime)
    assert deliver(world.runtime) == Tried()
    application.die = application.save
    station.handler.cache_clear()
    world.pass_time(world.settings.lease + 1)
    assert deliver(world.runtime) == Tried(delivered=1)
    assert len(application.seen) == 1
