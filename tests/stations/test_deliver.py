"""Station 7: outcomes reach the application's code at least once, and what fails, hangs or crashes there bills and stops nothing."""

from __future__ import annotations

import sys
import time
import types

import pytest
from sqlalchemy import text

from bakehouse import ConfigurationError, InvalidRecord, handler
from bakehouse_worker import sinks
from bakehouse_worker.deliver import SPARE, Tried, deliver
from bakehouse_worker.limit import LATEST, TimedOut
from bakehouse_worker.store import deliveries, reading, transactional

#: Seconds after which the leases of a worker that was lost have run out: a call's limit, and what its end may take.
OVER = 60 + LATEST + SPARE + 1


@pytest.fixture
def application(monkeypatch):
    """A module of the application's, with handlers that remember."""
    module = types.ModuleType("an_application")
    module.seen = []
    module.save = lambda outcome: module.seen.append(outcome)

    def fail(outcome):
        module.seen.append(outcome)
        raise RuntimeError("no room")

    module.fail = fail
    monkeypatch.setitem(sys.modules, "an_application", module)
    sinks.find.cache_clear()
    return module


def done(world, count=3, **more):
    """Records that have ended and wait to be delivered."""
    world.enqueue(count, **more)
    for _ in range(20):
        ready = reading.deliveries(world.runtime.database).get("waiting", 0)
        if ready == count:
            return
        world.pass_time(61)
        world.tick_without_delivery()
    raise AssertionError("not ready to be delivered")


def states(world):
    with world.runtime.database.read() as connection:
        rows = connection.execute(text("SELECT state, attempts FROM delivery ORDER BY record_id")).all()
    return [tuple(row) for row in rows]


def ids(outcomes):
    return [outcome.custom_id for outcome in outcomes]


def test_each_outcome_is_handed_over_with_what_the_application_gave(world, application):
    world.enqueue(3, on_result="an_application:save", metadata={"ticket": 42})
    world.let_go("none")
    world.client.enqueue_record(world.params(model="none"), custom_id="bad", job="job", on_result="an_application:save")
    world.run_to_end()
    deliver(world.runtime)
    assert sorted(ids(application.seen)) == ["bad", "item 0", "item 1", "item 2"]
    by_id = {outcome.custom_id: outcome for outcome in application.seen}
    good, bad = by_id["item 0"], by_id["bad"]
    assert (good.status, good.attempts, good.metadata, good.error) == ("succeeded", 1, {"ticket": 42}, None)
    assert good.text.startswith("answer to ") and good.message.content[0].text == good.text
    assert good.result["type"] == "succeeded" and good.model == "claude-haiku-5-5"
    assert good.usage.input_tokens > 0 and good.usage.output_tokens > 0 and good.cost > 0
    assert (bad.status, bad.error.type, bad.usage, bad.text) == ("failed", "invalid_request_error", None, "")
    assert bad.error.message
    assert len({outcome.delivery_id for outcome in application.seen}) == 4


def test_of_many_outcomes_those_whose_handler_raises_are_tried_again_alone_and_given_up_by_name(
    make_world, application
):
    world = make_world(max_attempts=3)
    calls = {}

    def save(outcome):
        calls[outcome.custom_id] = calls.get(outcome.custom_id, 0) + 1
        if outcome.custom_id in ("item 7", "item 50", "item 99"):
            raise ValueError("this one never")

    application.save = save
    done(world, 100, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=97, failed=3, reason="ValueError")
    for _ in range(5):
        world.pass_time(4000)
        deliver(world.runtime)
    assert {name: count for name, count in calls.items() if count > 1} == {"item 7": 3, "item 50": 3, "item 99": 3}
    assert states(world).count(("delivered", 1)) == 97
    assert states(world).count(("failed", 3)) == 3
    assert world.job().states["succeeded"] == 100
    assert world.server.totals()["accepted"] == 100


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


def test_a_handler_that_ends_its_process_in_python_has_only_failed(world, application):
    application.leave = lambda outcome: sys.exit(3)
    done(world, 2, on_result="an_application:leave")
    assert deliver(world.runtime) == Tried(failed=2, reason="SystemExit")


def test_a_worker_that_dies_inside_a_handler_delivers_again_after_its_lease(world, application):
    def die(_outcome):
        raise KeyboardInterrupt

    application.die = die
    done(world, 1, on_result="an_application:die")
    with pytest.raises(KeyboardInterrupt):
        deliver(world.runtime)
    assert deliver(world.runtime) == Tried()
    application.die = application.save
    sinks.find.cache_clear()
    world.pass_time(OVER)
    assert deliver(world.runtime) == Tried(delivered=1)
    assert len(application.seen) == 1


def test_an_outcome_that_kills_its_worker_every_time_is_given_up_and_the_others_of_its_span_are_delivered(
    make_world, application
):
    world = make_world(max_attempts=3)
    seen = []

    def save(outcome):
        if outcome.custom_id == "item 2":
            raise KeyboardInterrupt  # nothing is written down after this, as after os._exit
        seen.append(outcome.custom_id)

    application.save = save
    done(world, 5, on_result="an_application:save")
    died = 0
    for _ in range(10):
        try:
            deliver(world.runtime)
        except KeyboardInterrupt:
            died += 1
        world.pass_time(OVER)
    assert died == 3
    assert set(seen) == {"item 0", "item 1", "item 3", "item 4"}
    assert states(world)[2][0] == "failed"
    assert {state for state, _ in states(world)[:2] + states(world)[3:]} == {"delivered"}


def test_a_handler_that_hangs_is_ended_rests_and_stops_nobody_else(make_world, application):
    world = make_world(deliver_timeout=0.3, max_attempts=2)
    hung = []

    def hang(outcome):
        hung.append(outcome.custom_id)
        time.sleep(60)

    application.hang = hang
    world.runtime.resting = sinks.Resting(world.clock)
    done(world, 5, text="hung", on_result="an_application:hang")
    world.enqueue(5, job="other", text="quick", on_result="an_application:save")
    while reading.deliveries(world.runtime.database)["waiting"] < 10:
        world.pass_time(61)
        world.tick_without_delivery()
    began = time.monotonic()
    assert deliver(world.runtime) == Tried(delivered=5, failed=1, reason="TimeoutError")
    assert time.monotonic() - began < 5
    assert (hung, sorted(ids(application.seen))) == (["hung 0"], [f"quick {n}" for n in range(5)])
    for _ in range(9):
        assert deliver(world.runtime) == Tried()  # it rests
        world.pass_time(4000)
        assert deliver(world.runtime).failed == 1
    assert states(world).count(("failed", 2)) == 5


def test_a_handler_may_have_a_limit_of_its_own(world, application):
    application.slow = handler(timeout=0.1)(lambda outcome: time.sleep(60))
    done(world, 1, on_result="an_application:slow")
    assert deliver(world.runtime) == Tried(failed=1, reason="TimeoutError")


def test_a_handler_that_swallows_every_exception_of_its_own_is_ended_all_the_same(world, application):
    def stubborn(outcome):
        try:
            time.sleep(60)
        except Exception:
            application.seen.append(outcome)

    application.stubborn = handler(timeout=0.1)(stubborn)
    done(world, 1, on_result="an_application:stubborn")
    assert deliver(world.runtime).failed == 1
    assert not application.seen
    assert not issubclass(TimedOut, Exception)


def test_a_span_handler_gets_many_at_once_and_alone_what_failed_before(make_world, application):
    world = make_world(max_attempts=3)
    spans = []

    @handler(spans=True)
    def store(outcomes):
        spans.append(ids(outcomes))
        if "item 3" in spans[-1]:
            raise ValueError("item 3 is not for us")

    application.store = store
    done(world, 6, on_result="an_application:store")
    assert deliver(world.runtime) == Tried(failed=6, reason="ValueError")
    assert len(spans) == 1 and len(spans[0]) == 6
    world.pass_time(4000)
    assert deliver(world.runtime) == Tried(delivered=5, failed=1, reason="ValueError")
    assert sorted(spans[1:]) == [[f"item {n}"] for n in range(6)]
    world.pass_time(4000)
    assert deliver(world.runtime) == Tried(failed=1, reason="ValueError")
    assert sorted(state for state, _ in states(world)) == ["delivered"] * 5 + ["failed"]


@pytest.fixture
def effects(world):
    """The application's own table, in the store's database."""
    with world.runtime.database.write() as connection:
        connection.execute(text("CREATE TABLE effect (custom_id TEXT, delivery TEXT)"))

    def read():
        with world.runtime.database.read() as connection:
            return sorted(connection.execute(text("SELECT custom_id FROM effect")).scalars())

    return read


INSERT = text("INSERT INTO effect VALUES (:custom_id, :delivery)")


def write(outcome, session):
    session.execute(INSERT, {"custom_id": outcome.custom_id, "delivery": outcome.delivery_id})


def test_a_transactional_handler_has_its_effect_exactly_once_whatever_dies_after_it(world, application, effects):
    """The worker dies between the application's write and the mark, twice; without the common transaction there were three effects."""
    deaths = iter((True, True, False))

    @handler(transaction=True)
    def save(outcome, session):
        write(outcome, session)
        session.flush()
        if next(deaths):
            raise KeyboardInterrupt

    application.save = save
    done(world, 1, on_result="an_application:save")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            deliver(world.runtime)
        assert effects() == []
        world.pass_time(OVER)
    assert deliver(world.runtime).delivered == 1
    assert effects() == ["item 0"]
    assert deliver(world.runtime) == Tried()


def test_what_a_transactional_handler_wrote_before_it_raised_is_not_there(make_world, application, effects, world):
    @handler(transaction=True)
    def save(outcome, session):
        write(outcome, session)
        session.commit()  # commits nothing by itself
        if outcome.custom_id == "item 1":
            raise ValueError("after all not")

    application.save = save
    done(world, 3, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=2, failed=1, reason="ValueError")
    assert effects() == ["item 0", "item 2"]


def test_a_transactional_handler_that_a_lost_worker_goes_on_with_has_no_second_effect(world, application, effects):
    application.save = handler(transaction=True)(write)
    done(world, 2, on_result="an_application:save")
    held = deliveries.claim(world.runtime.database, 10, 60)
    world.pass_time(61)
    assert deliver(world.runtime).delivered == 2  # somebody else took them over meanwhile
    keys = [parcel.key for parcel in held]
    with transactional.with_mark(world.runtime.database, keys) as (_, mine):
        assert mine == []
    assert effects() == ["item 0", "item 1"]


def test_a_span_in_one_transaction_is_stored_whole_or_not_at_all(world, application, effects):
    @handler(spans=True, transaction=True)
    def save(outcomes, session):
        for outcome in outcomes:
            write(outcome, session)
        if len(outcomes) > 1:
            raise ValueError("not many at once")

    application.save = save
    done(world, 3, on_result="an_application:save")
    assert deliver(world.runtime).failed == 3
    assert effects() == []
    world.pass_time(4000)
    assert deliver(world.runtime).delivered == 3
    assert effects() == ["item 0", "item 1", "item 2"]


def test_a_worker_whose_lease_is_short_prolongs_it_between_two_outcomes(make_world, application):
    world = make_world(lease=1, deliver_timeout=1)
    other = world.worker()

    def slow(outcome):
        world.clock.now += 7  # after two of them, less is left of the lease than the next call may take
        application.seen.append(outcome)
        assert deliveries.claim_lost(other.database, 60, 5) is None

    application.slow = slow
    done(world, 10, on_result="an_application:slow")
    assert deliver(world.runtime).delivered == 10
    assert len(application.seen) == 10


def test_a_worker_that_was_overtaken_hands_over_nothing_more(make_world, application):
    world = make_world(lease=1, deliver_timeout=1)

    def freeze(outcome):
        application.seen.append(outcome)
        if len(application.seen) == 1:
            world.clock.now += 100
            while lost := deliveries.claim_lost(world.runtime.database, 1000, 5):
                deliveries.let_go(world.runtime.database, lost.sink)  # another worker takes over all that is left

    application.freeze = freeze
    done(world, 5, on_result="an_application:freeze")
    assert deliver(world.runtime).delivered == 1
    assert len(application.seen) == 1


@pytest.mark.parametrize(
    "wrong", ["save", "task:", "task:@queue", "app:", ":save", "a b:c", "task:name@", 7, "myapp.labels.save"]
)
def test_an_on_result_that_names_nothing_is_refused_at_the_call(world, wrong):
    with pytest.raises(
        InvalidRecord, match=r"on_result: must look like 'package.module:function' or 'task:NAME@QUEUE'"
    ):
        world.client.enqueue_record(world.params(), on_result=wrong)


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan"), "30", True])
def test_a_handler_without_a_limit_is_refused_where_it_is_written(wrong):
    with pytest.raises(ConfigurationError, match="timeout must be above 0"):
        handler(timeout=wrong)


def test_outcomes_of_other_handlers_do_not_wait_behind_one_that_ends_its_worker_each_time(make_world, application):
    world = make_world(max_attempts=50)

    def die(outcome):
        raise KeyboardInterrupt

    application.die = die
    world.enqueue(5, text="deadly", on_result="an_application:die")
    world.enqueue(5, job="other", text="innocent", on_result="an_application:save")
    while reading.deliveries(world.runtime.database).get("waiting", 0) < 10:
        world.tick_without_delivery()
        world.pass_time(61)
    for deaths in range(3):  # the first ends with all ten in hand, the second and the third with a deadly one alone
        if deaths < 2 or len(application.seen) < 5:
            with pytest.raises(KeyboardInterrupt):
                deliver(world.runtime)
        world.pass_time(OVER)
    assert sorted(ids(application.seen)) == [f"innocent {n}" for n in range(5)]


def test_what_waited_behind_a_lost_one_goes_on_at_once_when_that_one_was_taken(world, application):
    application.save = lambda outcome: (_ for _ in ()).throw(KeyboardInterrupt)
    done(world, 5, on_result="an_application:save")
    with pytest.raises(KeyboardInterrupt):
        deliver(world.runtime)
    application.save = application.seen.append
    sinks.find.cache_clear()
    world.pass_time(OVER)
    assert deliver(world.runtime) == Tried(delivered=5)


def test_a_claim_has_no_more_answers_than_fit_into_memory_and_one_at_least(world, application, monkeypatch):
    monkeypatch.setattr(deliveries, "BYTES", 1_000)
    done(world, 6, on_result="an_application:save")
    size = len(next(iter(world.endings().values())).line)
    assert len(deliveries.claim(world.runtime.database, 100, 60)) == max(1, 1_000 // size)
    monkeypatch.setattr(deliveries, "BYTES", 1)
    assert len(deliveries.claim(world.runtime.database, 100, 60)) == 1


def test_two_stores_never_give_one_delivery_id_to_two_outcomes(make_world, application):
    for world in (make_world(), make_world()):
        done(world, 2, on_result="an_application:save")
        deliver(world.runtime)
    assert len({outcome.delivery_id for outcome in application.seen}) == 4


def test_a_brokers_outage_makes_no_dead_letters_of_tasks(make_world, application):
    from celery import Celery

    world = make_world(max_attempts=2, celery_app="an_application:app")
    application.app = Celery("market", broker="redis://127.0.0.1:1/0")
    application.app.conf.broker_transport_options = {"max_retries": 0}
    application.app.conf.task_publish_retry = False
    done(world, 1, on_result="task:market.save")
    for _ in range(4):
        assert deliver(world.runtime).failed == 1
        world.pass_time(4_000)
    assert states(world) == [("waiting", 4)]


def test_a_task_that_a_handler_sends_goes_to_the_applications_own_app(make_world, application):
    from celery import Celery, current_app

    from bakehouse_worker.app import app as ours

    world = make_world(celery_app="an_application")
    application.app = Celery("market", broker="memory://")
    application.save = lambda outcome: application.seen.append(current_app.main)
    done(world, 1, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=1)
    assert application.seen == ["market"]
    assert current_app.main == ours.main
