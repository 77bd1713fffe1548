"""Each safeguard of the product, taken out: what the ledger counts then shows that the tests would see it missing.

Nothing here is in the product. A process of a scenario that wants it calls `take_out` before it starts to work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bakehouse_worker import accept, body, doubt, rescue
from bakehouse_worker.store import doubts, submissions


def take_out(name: str) -> None:
    """Take one safeguard out of this process."""
    SAFEGUARDS[name]()


def doubt_is_looked_into() -> None:
    """A create without an answer is sent again at once, as the SDK would."""

    def _resolve(runtime: Any, each: Any, _listing: Any) -> bool:
        return doubts.abandon(runtime.database, each.submission_id, "chaos: not looked for")

    rescue._resolve = _resolve  # type: ignore[assignment]


def absence_takes_time_and_evidence() -> None:
    """A batch that the list does not show at the first look is believed absent."""
    decide = doubt.decide

    def _decide(each: Any, listing: Any, known: Any, now: float, _grace: float) -> Any:
        return decide(each, listing, known, now, 0.0)

    doubt.decide = _decide  # type: ignore[assignment]

    def _believe_absent(runtime: Any, each: Any, _listing: Any) -> bool:
        return doubts.abandon(runtime.database, each.submission_id, "chaos: believed at once")

    rescue._believe_absent = _believe_absent  # type: ignore[assignment]


def no_two_look_alike() -> None:
    """Batches of the same size may be in doubt together. The test drops the database's own index."""
    submissions._distinct = lambda _connection, _workspace, requests: requests  # type: ignore[assignment]


def closing_is_compared_and_set() -> None:
    """A sender that lost its lease sends its last bytes all the same."""
    closing = submissions.closing

    def _closing(*arguments: Any) -> bool:
        closing(*arguments)
        return True

    submissions.closing = _closing  # type: ignore[assignment]


def a_stalled_sender_gives_up() -> None:
    """A sender that slept between `closing` and its last bytes sends them all the same."""
    body.STALL = 1e9


def acceptance_acknowledges_last() -> None:
    """Entries leave the inbox before they are committed to the store."""
    into_store = accept.into_store

    def patched(runtime: Any, entries: Any) -> Any:
        accept._acknowledge(runtime, [(entry.entry_id.encode(), 0) for entry in entries])
        return into_store(runtime, entries)

    accept.into_store = patched  # type: ignore[assignment]


SAFEGUARDS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        doubt_is_looked_into,
        absence_takes_time_and_evidence,
        no_two_look_alike,
        closing_is_compared_and_set,
        a_stalled_sender_gives_up,
        acceptance_acknowledges_last,
    )
}
