"""What the code under test enqueues, caught on its way to Redis: checked as ever, and sent nowhere."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from bakehouse import outbox
from bakehouse.client import Client
from bakehouse.contract import Canary, Close, Record, decode
from bakehouse.handlers import terms_of
from bakehouse.inbox import Inbox
from bakehouse.outcome import Outcome, ResultError
from bakehouse.testing import sessions
from bakehouse.testing.outcomes import MODEL, make_outcome
from bakehouse.testing.sessions import Entries

if TYPE_CHECKING:
    import pytest

    from bakehouse.outbox import AnySession


@dataclass(frozen=True, slots=True)
class Captured:
    """One record that was enqueued, with everything that was said of it. `params` are as the API would get them."""

    job: str
    custom_id: str
    params: dict[str, Any] = field(repr=False)
    betas: tuple[str, ...] = ()
    on_result: str | None = None
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    priority: int = 0
    api_version: str = ""

    @property
    def prompt(self) -> str:
        """The text of the last user message; text blocks are joined by newlines."""
        for message in reversed(self.params["messages"]):
            if isinstance(message, dict) and message.get("role") == "user":
                return _text(message.get("content"))
        return ""


class BakehouseOutbox:
    """What the fixture `bakehouse_outbox` gives: all that was enqueued in this test, in order.

    records  the records, also those that were enqueued twice; with `session=`, once that session's transaction is committed
    closed   job -> the number of records that it expects, for `close()`; None where none was given
    ahead    job -> the number of records that go first, for `send_ahead()`
    """

    def __init__(self) -> None:
        self.records: list[Captured] = []
        self.closed: dict[str, int | None] = {}
        self.ahead: dict[str, int] = {}

    @property
    def custom_ids(self) -> list[str]:
        """The records' custom_ids, in the order in which they were enqueued."""
        return [record.custom_id for record in self.records]

    def only(self) -> Captured:
        """Return the one record that was enqueued. Raises AssertionError, which lists what there is, if there is not one."""
        if len(self.records) != 1:
            raise AssertionError(f"expected one record, but {self._listed()}")
        return self.records[0]

    def find(self, custom_id: str, *, job: str | None = None) -> Captured:
        """Return the record of this custom_id that was enqueued last. Raises AssertionError, which lists what there is."""
        for record in reversed(self.records):
            if record.custom_id == custom_id and job in (None, record.job):
                return record
        raise AssertionError(f"no record {custom_id!r} was enqueued; {self._listed()}")

    def clear(self) -> None:
        """Forget everything that was enqueued so far."""
        self.records.clear()
        self.closed.clear()
        self.ahead.clear()

    def answer(
        self,
        record: Captured | str,
        *,
        text: str = "an answer",
        error: ResultError | str | None = None,
        stop_reason: str = "end_turn",
        session: object = None,
    ) -> Outcome:
        """Answer a captured record, or the last of a custom_id: make its `Outcome` and call the handler that it names, here and now.

        What the handler raises is raised here. A handler with `@handler(spans=True)` gets a list of this one outcome; one with
        `@handler(transaction=True)` gets your `session`. Without `on_result`, and for one that names a Celery task, nothing is
        called. Returns the outcome.
        """
        asked = self.find(record) if isinstance(record, str) else record
        outcome = make_outcome(
            text=text,
            error=error,
            stop_reason=stop_reason,
            custom_id=asked.custom_id,
            job=asked.job,
            model=str(asked.params.get("model", MODEL)),
            metadata=asked.metadata,
        )
        if asked.on_result is not None and not asked.on_result.startswith("task:"):
            _call(asked.on_result, outcome, session)
        return outcome

    def _listed(self) -> str:
        if not self.records:
            return "nothing was enqueued"
        shown = [f"  {record.custom_id!r} in job {record.job!r}" for record in self.records[:20]]
        more = [f"  and {len(self.records) - 20:,} more"] if len(self.records) > 20 else []
        return "\n".join([f"{len(self.records):,} were enqueued:", *shown, *more])

    def _take(self, entries: Entries) -> None:
        for header, params in entries:
            item = decode(header, params)
            if isinstance(item, Close):
                self.closed[item.job] = item.expected
            elif isinstance(item, Canary):
                self.ahead[item.job] = item.records
            else:
                self.records.append(_captured(item))


class _Catching(Inbox):
    """An inbox without a Redis."""

    def __init__(self, take: Callable[[Entries], None]) -> None:
        self._take = take

    def append(self, entries: Entries, *, durable: bool = False) -> None:
        """Hand the entries to the test."""
        self._take(entries)


def capture(monkeypatch: pytest.MonkeyPatch) -> BakehouseOutbox:
    """Catch, until `monkeypatch` is undone, what any client of this process enqueues, also one that was made before."""
    caught = BakehouseOutbox()
    inbox = _Catching(caught._take)

    def write(session: AnySession, entries: Entries) -> None:
        sessions.hold(outbox._checked(session), entries, caught._take)

    monkeypatch.setattr(Client, "_inbox", property(lambda _: inbox))
    monkeypatch.setattr(outbox, "write", write)
    return caught


def _captured(record: Record) -> Captured:
    return Captured(
        job=record.job,
        custom_id=record.custom_id,
        params=orjson.loads(record.params),
        betas=record.betas,
        on_result=record.on_result,
        metadata=None if record.metadata is None else orjson.loads(record.metadata),
        priority=record.priority,
        api_version=record.api_version,
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _call(sink: str, outcome: Outcome, session: object) -> None:
    module, _, name = sink.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise AssertionError(f"on_result {sink!r} names nothing that can be imported here: {error}") from error
    terms = terms_of(function)
    if terms.transaction and session is None:
        raise AssertionError(f"on_result {sink!r} takes a session; give it one: answer(..., session=...)")
    told = [outcome] if terms.spans else outcome
    if terms.transaction:
        function(told, session)
    else:
        function(told)
