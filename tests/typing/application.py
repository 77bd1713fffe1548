"""An application that uses every public name of Bakehouse. It is checked by mypy --strict and by pyright, and never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as PlainSession
from sqlalchemy.orm import scoped_session
from sqlmodel import Session, SQLModel, create_engine

import bakehouse
from bakehouse import (
    BakehouseError,
    Client,
    ConfigurationError,
    InboxFull,
    InboxUnavailable,
    InvalidRecord,
    Job,
    NotEnded,
    NotOnDisk,
    Outcome,
    Progress,
    Receipt,
    ResultError,
    UnknownJob,
    Usage,
    aio,
    enqueue_record,
    enqueue_records,
    get_outcome,
    handler,
    iter_outcomes,
    job,
    wait,
)
from bakehouse.outbox import create_outbox, outbox_table

if TYPE_CHECKING:
    from anthropic.types import Message

# Enqueueing


def params(text: str) -> dict[str, object]:
    """What applications have: an object of their own making, typed no better than its values are."""
    return {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": text}]}


def enqueue() -> list[Receipt]:
    by_hand = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": "by hand"}]}
    one = enqueue_record(by_hand)
    two = enqueue_record(
        params("two"),
        custom_id="ticket-2",
        job="triage",
        priority=5,
        betas=["output-300k-2026-03-24"],
        on_result="labels:save",
        metadata={"ticket": 2},
        api_version="2026-03-01",
    )
    assert_type(one, Receipt)
    assert_type((two.job, two.custom_id, two.digest), tuple[str, str, str])
    assert_type(enqueue_records(({"params": params(text)} for text in ("a", "b")), job="triage"), int)
    assert_type(enqueue_records([{"params": by_hand, "custom_id": "c"}]), int)
    return [one, two]


def enqueue_elsewhere() -> Receipt:
    client = Client("redis://127.0.0.1:6379/0", data_dir=Path(".bakehouse"), prefix="other", max_inbox_bytes=1_000_000)
    client.send_ahead("triage", 20)
    assert_type(client.enqueue_records([{"params": params("many")}], job="triage"), int)
    client.close("triage", expected=2)
    return client.enqueue_record(params("one"), job="triage", metadata={"nested": {"list": [1, 2.0, None, "x"]}})


def enqueue_with_an_order(session: Session, plain: PlainSession, scoped: scoped_session[PlainSession]) -> Receipt:
    outbox_table(SQLModel.metadata)
    engine = create_engine("sqlite://")
    create_outbox(engine)
    with engine.begin() as connection:
        create_outbox(connection)
    assert_type(enqueue_records([{"params": params("order")}], session=plain), int)
    assert_type(Client().enqueue_records([{"params": params("order")}], session=scoped), int)
    Client().enqueue_record(params("order"), session=plain)
    return enqueue_record(params("order"), custom_id="order-42", session=session)


def enqueue_durably() -> Receipt:
    enqueue_records([{"params": params("order")}], durable=True)
    Client().enqueue_records([{"params": params("order")}], durable=True)
    Client().enqueue_record(params("order"), durable=True)
    return enqueue_record(params("order"), durable=True)


def enqueue_carefully(text: str) -> str:
    try:
        return enqueue_record(params(text)).custom_id
    except InvalidRecord as error:
        assert_type((error.field, error.reason), tuple[str, str])
        value_error: ValueError = error
        return str(value_error)
    except InboxFull as error:
        assert_type((error.inbox_bytes, error.limit, error.accepted), tuple[int, int, int])
        return "full"
    except NotOnDisk as error:
        unavailable: InboxUnavailable = error
        assert_type(error.never, bool)
        return str(unavailable)
    except (InboxUnavailable, ConfigurationError) as error:
        ours: BakehouseError = error
        return f"{ours}, after {ours.accepted}"


# Handlers


def save(outcome: Outcome) -> None:
    print(outcome.custom_id, outcome.text)


@handler()
def save_plainly(outcome: Outcome) -> None:
    save(outcome)


@handler(spans=True)
def save_many(outcomes: list[Outcome]) -> int:
    return len(outcomes)


@handler(transaction=True, timeout=30)
def save_with_mark(outcome: Outcome, session: Session) -> None:
    session.flush()
    save(outcome)


@handler(spans=True, transaction=True, timeout=2.5)
def save_many_with_mark(outcomes: list[Outcome], session: Session) -> None:
    session.flush()


def call_handlers(outcome: Outcome, session: Session) -> None:
    """A decorated handler has the type that it had."""
    save_plainly(outcome)
    assert_type(save_many([outcome]), int)
    save_with_mark(outcome, session)
    save_many_with_mark([outcome], session=session)


# Reading


def look_at(outcome: Outcome) -> str:
    assert_type((outcome.job, outcome.custom_id, outcome.status, outcome.delivery_id), tuple[str, str, str, str])
    assert_type((outcome.attempts, outcome.succeeded), tuple[int, bool])
    assert_type((outcome.cost, outcome.model, outcome.stop_reason), tuple[float | None, str | None, str | None])
    assert_type((outcome.raw, outcome.text), tuple[bytes, str])
    if outcome.error is not None:
        assert_type(outcome.error, ResultError)
        assert_type((outcome.error.type, outcome.error.message), tuple[str, str])
        assert_type(outcome.error.request_id, str | None)
    if outcome.usage is not None:
        assert_type(outcome.usage, Usage)
        assert_type(outcome.usage.input_tokens + outcome.usage.output_tokens, int)
        assert_type(outcome.usage.cache_write_tokens + outcome.usage.cache_read_tokens, int)
    ticket: int = outcome.metadata["ticket"]
    print(ticket)
    kind: str = outcome.result["type"]
    return kind


def typed(outcome: Outcome) -> Message:
    """The SDK's own type, whose blocks are told apart by their type."""
    message = outcome.message
    for block in message.content:
        if block.type == "text":
            assert_type(block.text, str)
    assert_type(message.usage.output_tokens, int)
    return message


def read(receipts: list[Receipt]) -> None:
    assert_type(get_outcome("ticket-2", job="triage"), Outcome | None)
    assert_type(get_outcome("alone"), Outcome | None)
    assert_type(iter_outcomes("triage"), Iterator[Outcome])
    for outcome in iter_outcomes("triage", status="failed"):
        look_at(outcome)
    assert_type(wait(receipts, timeout=60), list[Outcome])
    assert_type(wait(receipts[0]), list[Outcome])
    assert_type(wait(receipt for receipt in receipts), list[Outcome])
    try:
        wait(receipts, timeout=0.5)
    except NotEnded as error:
        assert_type((error.outcomes, error.waiting), tuple[list[Outcome], list[Receipt]])
        late: TimeoutError = error
        print(late)


def follow(name: str) -> Progress:
    try:
        run = job(name)
        assert_type((run, run.name), tuple[Job, str])
        run.close()
        run.close(expected=2)
        assert_type(run.cancel(), int)
        assert_type(run.outcomes("succeeded"), Iterator[Outcome])
        assert_type(run.outcomes(status=None), Iterator[Outcome])
        assert_type(run.wait(), Progress)
        return run.wait(timeout=3600)
    except UnknownJob as error:
        lookup: LookupError = error
        print(lookup, error.job)
        return job(name).progress()


def count(progress: Progress) -> int:
    assert_type((progress.job, progress.expected, progress.done), tuple[str, int | None, bool])
    assert_type((progress.pending, progress.in_batches, progress.ended, progress.known), tuple[int, int, int, int])
    return progress.succeeded + progress.failed + progress.canceled + progress.rejected


# asyncio


async def later() -> None:
    receipt = await aio.enqueue_record(
        params("later"), custom_id="later", job="triage", on_result="task:labels.save@shop"
    )
    assert_type(receipt, Receipt)
    assert_type(await aio.enqueue_record(params("later"), durable=True), Receipt)
    assert_type(await aio.enqueue_records([{"params": params("many")}], durable=True), int)
    assert_type(await aio.enqueue_records([{"params": params("many")}], job="triage"), int)
    assert_type(await aio.get_outcome("later", job="triage"), Outcome | None)
    assert_type(await aio.wait(receipt, timeout=60), list[Outcome])
    assert_type(await aio.wait_for_job("triage", timeout=None), Progress)
    found = aio.iter_outcomes("triage", status="succeeded")
    assert_type(found, AsyncIterator[Outcome])
    async for outcome in found:
        look_at(outcome)


async def with_an_order(session: AsyncSession) -> Receipt:
    return await session.run_sync(lambda plain: enqueue_record(params("order"), custom_id="order-43", session=plain))


def main() -> None:
    given: Mapping[str, str] = {"version": bakehouse.__version__}
    print(given)
    asyncio.run(later())
