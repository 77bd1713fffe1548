"""Erasing at a person's word: everything that stands under one custom_id, here and, as far as it can be, at the API.

Out of reach, and told by the command: backups and copies of the database, what handlers were given, and the log that Redis appends to
until it has rewritten it. At the API a batch is deleted as a whole, so not before its last record is erased or pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis

from bakehouse import BakehouseError, ConfigurationError
from bakehouse_worker.forget import Forgotten, forget
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import erasing, tombstones
from bakehouse_worker.store.erasing import Erased
from bakehouse_worker.store.tombstones import Buried

log = logger("erase")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was erased, what was pruned before, and how far it went outside the store."""

    erased: tuple[Erased, ...]
    rejected: int
    pruned: tuple[tuple[str, Buried], ...]
    remote: Forgotten  #: batches deleted at the API now, or tried again later
    shared: int  #: batches that the API keeps, as they hold other records' content
    journal_emptied: bool  #: SQLite's write-ahead log was cut; True on a server
    redis_asked: bool  #: Redis was asked to rewrite its append-only file


def erase(runtime: Runtime, custom_id: str, job: str | None = None) -> Outcome:
    """Erase the content under a custom_id, in one job or in all that have it; doing so again changes nothing.

    Raises ConfigurationError, with nothing erased, if it is unknown or if one of its requests is in a batch now.
    """
    done = erasing.erase(runtime.database, custom_id, job)
    if done.sent:
        where, state = done.sent[0]
        raise ConfigurationError(
            f"{custom_id!r} in job {where} is in a batch now ({state}), so nothing was erased: "
            "erase it when that has ended; `bakehouse show` tells when"
        )
    pruned = tuple(tombstones.find(runtime.database, custom_id, job))
    if not (done.erased or done.rejected or pruned):
        where = f" in job {job}" if job else ""
        raise ConfigurationError(
            f"no record {custom_id!r} is known{where}; if it was enqueued just now, it may stand in the inbox"
        )
    log.info("erased", records=len(done.erased), rejected=done.rejected)
    batch_ids = sorted({batch_id for each in done.erased for batch_id in each.batch_ids})
    remote = forget(runtime, batch_ids) if batch_ids else Forgotten()
    return Outcome(
        done.erased,
        done.rejected,
        pruned,
        remote,
        erasing.shared(runtime.database, batch_ids),
        runtime.database.empty_journal(),
        _ask_redis(runtime),
    )


def _ask_redis(runtime: Runtime) -> bool:
    """Ask Redis to rewrite its append-only file, in which accepted entries stand until then; False if it does not answer."""
    try:
        runtime.redis.bgrewriteaof()
    except (BakehouseError, redis.RedisError):
        return False
    return True


def told(custom_id: str, outcome: Outcome) -> list[str]:
    """Return what was done, and what is out of reach, as lines for a terminal."""
    lines = [f"{custom_id} in job {each.job}: erased ({_was(each.state)})" for each in outcome.erased]
    for job, stone in outcome.pruned:
        at = datetime.fromtimestamp(stone.pruned_at, UTC).strftime("%Y-%m-%d")
        lines.append(f"{custom_id} in job {job}: nothing to erase, its row was pruned on {at}")
    if outcome.rejected:
        lines.append(f"rejected receipts under {custom_id}: {outcome.rejected:,}; they hold no content")
    lines += _at_the_api(outcome)
    if not outcome.journal_emptied:
        lines.append("SQLite's write-ahead log is in use and still holds it; the same command again empties it")
    asked = "it was asked to" if outcome.redis_asked else "it does not answer now, and does so when it stops or grows"
    lines.append(
        "out of reach: backups, replicas and PostgreSQL's dead rows until it vacuums; what handlers were given;"
    )
    lines.append(
        f"  the append-only file of Redis until it is rewritten ({asked}); entries that still stand in the inbox"
    )
    return lines


def _was(state: str) -> str:
    return "it was pending, and is canceled: it is never sent" if state == "pending" else f"it had {_ENDED[state]}"


_ENDED = {"succeeded": "succeeded", "failed": "failed", "canceled": "been canceled"}


def _at_the_api(outcome: Outcome) -> Sequence[str]:
    lines = []
    if outcome.remote.deleted:
        lines.append(f"batches deleted at the API: {outcome.remote.deleted:,}")
    if outcome.remote.left:
        lines.append(
            f"batches still at the API: {outcome.remote.left:,} ({outcome.remote.reason}); the workers try again every hour"
        )
    if outcome.shared:
        lines.append(
            f"batches that the API keeps, with other records in them: {outcome.shared:,}; each is deleted there when "
            "its last record is erased or pruned, and is gone 29 days after it was made"
        )
    return lines
