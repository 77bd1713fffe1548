"""The tests of an application, with every public name of `bakehouse.testing`. Checked by type checkers, and never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import pytest
from sqlmodel import Session

from bakehouse import Outcome, ResultError, Usage
from bakehouse.testing import (
    BakehouseOutbox,
    BakehouseStack,
    Captured,
    HandlerFailed,
    StackUnavailable,
    bakehouse_outbox,
    bakehouse_settings,
    bakehouse_stack,
    make_outcome,
)

FIXTURES = (bakehouse_outbox, bakehouse_stack, bakehouse_settings)


@pytest.fixture(name="bakehouse_settings")
def _settings() -> Mapping[str, str]:
    return {"BAKEHOUSE_MAX_ATTEMPTS": "2"}


def test_what_is_enqueued(bakehouse_outbox: BakehouseOutbox, session: Session) -> None:
    assert_type(bakehouse_outbox.records, list[Captured])
    assert_type(bakehouse_outbox.custom_ids, list[str])
    assert_type((bakehouse_outbox.closed, bakehouse_outbox.ahead), tuple[dict[str, int | None], dict[str, int]])
    record = bakehouse_outbox.only()
    assert_type(record, Captured)
    assert_type((record.job, record.custom_id, record.prompt), tuple[str, str, str])
    assert_type((record.priority, record.betas), tuple[int, tuple[str, ...]])
    assert_type((record.on_result, record.api_version), tuple[str | None, str])
    model: str = record.params["model"]
    ticket: int = record.metadata["ticket"] if record.metadata else 0
    assert (model, ticket) == ("claude-haiku-5-5", 2)
    found = bakehouse_outbox.find("ticket-2", job="triage")
    assert_type(bakehouse_outbox.answer(found, text="billing", stop_reason="end_turn"), Outcome)
    assert_type(bakehouse_outbox.answer("ticket-2", error="expired", session=session), Outcome)
    bakehouse_outbox.answer("ticket-2", error=ResultError("overloaded_error", "so it was"))
    bakehouse_outbox.clear()


def test_what_is_done_with_an_answer() -> None:
    made = make_outcome(
        text="billing",
        custom_id="ticket-2",
        job="triage",
        error=None,
        status="succeeded",
        attempts=2,
        model="claude-haiku-5-5",
        stop_reason="end_turn",
        usage=Usage(input_tokens=10, output_tokens=5),
        cost=0.01,
        metadata={"ticket": 2},
        delivery_id="1-0",
    )
    assert_type(made, Outcome)


def test_the_whole_way(bakehouse_stack: BakehouseStack) -> None:
    assert_type((bakehouse_stack.home, bakehouse_stack.api_url), tuple[Path, str])
    bakehouse_stack.answer("invoice", "billing", stop_reason="max_tokens", times=1)
    bakehouse_stack.fail("parcel", type="overloaded_error", message="not now", times=1)
    bakehouse_stack.expire("app", times=1)
    bakehouse_stack.refuse("slugs", times=1)
    bakehouse_stack.hold()
    bakehouse_stack.release()
    try:
        bakehouse_stack.drain(timeout=5)
    except HandlerFailed as error:
        failed: AssertionError = error
        print(failed)
    assert_type(bakehouse_stack.sent(prompt="invoice") + bakehouse_stack.billed(prompt="invoice"), int)
    assert_type(bakehouse_stack.tracebacks() + bakehouse_stack.logs(), str)


def test_where_nothing_can_be_started() -> None:
    assert issubclass(StackUnavailable, Exception)
