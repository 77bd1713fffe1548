"""Everything that may happen to records, in any order, on both databases: after every step the books agree and nothing is sent twice.

The stations are the real ones, on a real Redis and a real store, against the emulator. A worker "dies" by leaving its work where
it is. EXAMPLES=500 makes it a long run.
"""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from bakehouse import ConfigurationError
from bakehouse_worker import doctor
from bakehouse_worker.accept import accept
from bakehouse_worker.body import Body
from bakehouse_worker.cancel import cancel_at_api, cancel_job, cancel_record
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.errors import GatewayError, SendingStopped
from bakehouse_worker.poll import poll
from bakehouse_worker.rescue import rescue
from bakehouse_worker.settle import settle
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import batches, reading, submissions
from bakehouse_worker.submit import submit

FAULTS = st.sampled_from(
    [
        {"on": "create", "fault": "lost_before_acceptance"},
        {"on": "create", "fault": "lost_after_acceptance"},
        {"on": "create", "fault": "overloaded"},
        {"on": "create", "fault": "overloaded", "accepted": True},
        {"on": "create", "fault": "rate_limit"},
        {"on": "list", "fault": "empty"},
        {"on": "list", "fault": "server_error"},
        {"on": "results", "fault": "cut_mid_line"},
        {"on": "results", "fault": "reset"},
        {"on": "results", "fault": "missing_line"},
        {"on": "results", "fault": "doubled_line"},
        {"on": "results", "fault": "unknown_id"},
    ]
)
_number = itertools.count()


class Steps(RuleBasedStateMachine):
    """Bound to the fixtures of one test by `bound`."""

    make_world = server = None

    @initialize()
    def begin(self):
        self.server.rules(replace=True)
        self.world = self.make_world(max_batch_requests=4, lease=30, doubt_grace=60, create_timeout=20, retry_base=1)
        self.enqueued, self.inbox, self.lost = 0, 0, 0
        self.name = f"example {next(_number)}"
        self.canceled: set[str] = set()
        self.billed = self.server.totals()["billed"]

    @property
    def runtime(self):
        return self.world.runtime

    @rule(count=st.integers(1, 9))
    def enqueue(self, count):
        for _ in range(count):
            text = f"{self.name} record {self.enqueued}"
            self.world.client.enqueue_record(self.world.params(text), custom_id=text, job="job")
            self.enqueued += 1
            self.inbox += 1

    @rule()
    def accept(self):
        accept(self.runtime, stale_after=0)
        self.inbox = 0

    @rule()
    def chunk(self):
        chunk(self.runtime)

    @rule(fault=FAULTS, times=st.integers(1, 2))
    def the_api_fails(self, fault, times):
        self.server.rules({**fault, "times": times})

    @rule()
    def submit(self):
        for batch in self._in(BatchState.PACKED):
            submit(self.runtime, batch)

    @precondition(lambda self: self._in(BatchState.PACKED))
    @rule(died=st.sampled_from(["uploading", "closing", "answered"]))
    def a_sender_dies(self, died):
        """Before the last bytes, before they are sent, or with the answer in hand."""
        database = self.runtime.database
        try:
            page = self.runtime.gateway.newest()
        except GatewayError:
            return
        batch = self._in(BatchState.PACKED)[0]
        sending = submissions.begin(database, batch, "the dead", 30, self.runtime.gateway.origin, page.workspace)
        if sending is None:
            return
        submissions.anchor(database, sending, page.batches[0] if page.batches else None)
        if died == "closing":
            submissions.closing(database, sending, 30)
        if died == "answered":
            body = Body(self.runtime, sending, batches.members(database, batch))
            try:
                self.runtime.gateway.create(iter(body), body.length, sending.betas, sending.api_version)
            except (GatewayError, SendingStopped):
                return

    @rule()
    def rescue(self):
        rescue(self.runtime)

    @rule()
    def poll(self):
        try:
            poll(self.runtime)
        except GatewayError:
            return

    @rule()
    def collect(self):
        for batch in self._in(BatchState.ENDED):
            collect(self.runtime, batch)

    @precondition(lambda self: self._in(BatchState.ENDED))
    @rule()
    def a_collector_dies(self):
        batches.claim_collect(self.runtime.database, self._in(BatchState.ENDED)[0], "the dead", 30)

    @rule()
    def settle(self):
        for batch in self._in(BatchState.COLLECTED):
            settle(self.runtime, batch)

    @rule()
    def the_worker_is_another(self):
        self.runtime.database.close()
        self.world.runtime = self.world.worker()

    @rule()
    def redis_is_flushed(self):
        """What was not accepted is the only loss."""
        keys = [self.runtime.keys.inbox, self.runtime.keys.inbox_bytes]
        self.runtime.redis.delete(*keys)
        self.lost += self.inbox
        self.inbox = 0

    @precondition(lambda self: self.enqueued)
    @rule(part=st.floats(0, 1, exclude_max=True))
    def cancel_a_record(self, part):
        text = f"{self.name} record {int(part * self.enqueued)}"
        try:
            cancel_record(self.runtime, text, "job")
        except ConfigurationError:
            assert self.lost
        self.inbox = 0

    @precondition(lambda self: self.enqueued > self.lost)
    @rule()
    def cancel_the_job(self):
        cancel_job(self.runtime, "job")
        self.inbox = 0

    @rule()
    def cancel_at_the_api(self):
        cancel_at_api(self.runtime)

    @rule(seconds=st.sampled_from([1, 31, 61, 200]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    @invariant()
    def every_receipt_is_in_exactly_one_place(self):
        if not hasattr(self, "world"):
            return
        known = sum(view.known for view in reading.jobs(self.runtime.database))
        assert known + self.inbox + self.lost == self.enqueued

    @invariant()
    def the_books_agree(self):
        if hasattr(self, "world"):
            wrong = [found for found in doctor.examine(self.runtime) if found.ok is False and found.check != "leases"]
            assert not wrong, wrong

    @invariant()
    def nothing_is_sent_twice(self):
        assert self.server.totals()["accepted_twice"] == 0

    @invariant()
    def what_is_canceled_stays_so_and_is_in_no_batch_that_may_be_sent(self):
        if not hasattr(self, "world"):
            return
        records = self.world.all_records()
        assert {custom_id for custom_id in self.canceled if records[custom_id].state != "canceled"} == set()
        self.canceled = {custom_id for custom_id, record in records.items() if record.state == "canceled"}
        marked = (
            "SELECT count(*) FROM record LEFT JOIN batch ON batch.id = batch_id WHERE record.cancel_asked_at > 0 AND "
        )
        with self.runtime.database.read() as connection:
            waiting = "(record.state = 'pending' OR record.state = 'packed' AND batch.state = 'packed')"
            assert connection.execute(text(marked + waiting)).scalar() == 0

    def _in(self, state):
        return [view.id for view in reading.live_batches(self.runtime.database) if view.state == state]

    def teardown(self):
        if hasattr(self, "world"):
            self.server.rules(replace=True)
            accept(self.runtime, stale_after=0)
            expected = self.enqueued - self.lost
            if expected:
                states = self.world.run_to_end(step=31)
                succeeded = states.get("succeeded", 0)
                assert succeeded + states.get("canceled", 0) == expected
                assert self.server.totals()["accepted_twice"] == 0
                assert self.server.totals()["billed"] - self.billed == succeeded
            self.runtime.database.close()


def bound(make_world, server):
    return type("Bound", (Steps,), {"make_world": staticmethod(make_world), "server": server})


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_any_order_of_steps_nothing_is_lost_and_nothing_is_sent_twice(make_world, server):
    steps = settings(
        max_examples=int(os.environ.get("EXAMPLES", "12")),
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(bound(make_world, server), settings=steps)
