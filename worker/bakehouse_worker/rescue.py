"""Janitor: leases that ran out, and creates whose answer was lost.

A submission in doubt is looked for in the API's own list. Candidates are the batches newer than its anchor, unknown to the store, of
the same request count. One is adopted; none, after DOUBT_GRACE and on evidence that the list tells the truth, means that it never
arrived. Anything else stays in doubt and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakehouse_worker.accept import accept
from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import doubts, holds, submissions
from bakehouse_worker.store.doubts import Doubt

#: Seconds between two looks at the list while something is in doubt.
LOOK_EVERY = 5.0
#: Seconds by which the API's clock may differ from ours where only time can tell (the anchor was deleted).
CLOCK_SKEW = 3600.0

log = logger("rescue")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the API listed: batches newer than the oldest anchor, and who it listed them for."""

    batches: tuple[Remote, ...]
    origin: str
    workspace: str


def rescue(runtime: Runtime) -> int:
    """Take back expired leases and look into every doubt; returns how many doubts were resolved."""
    uploads, closings = doubts.rescue_leases(runtime.database)
    if uploads or closings:
        log.warning("leases expired", uploads=uploads, closings=closings)
    open_doubts = doubts.in_doubt(runtime.database)
    if not open_doubts or not holds.claim_turn(runtime.database, "doubts_at", _interval(runtime)):
        return 0
    try:
        listing = _list(runtime, open_doubts)
    except GatewayError as error:
        log.warning("cannot look into doubts", doubts=len(open_doubts), reason=type(error).__name__)
        return 0
    return sum(_resolve(runtime, doubt, listing) for doubt in open_doubts)


def look_is_due(runtime: Runtime) -> bool:
    """Tell whether it is time to look into doubts again."""
    return holds.turn_is_due(runtime.database, "doubts_at", _interval(runtime))


def _interval(runtime: Runtime) -> float:
    return min(LOOK_EVERY, runtime.settings.poll_interval)


def after_crash(runtime: Runtime) -> None:
    """Take everything back at once, where no other worker can be alive: one machine, and its lock is held by the caller."""
    uploads, closings = doubts.rescue_leases(runtime.database, all_of_them=True)
    accept(runtime, stale_after=0.0)
    if uploads or closings:
        log.warning("taken back after a crash", uploads=uploads, closings=closings)


def candidates(doubt: Doubt, listed: Sequence[Remote], known: set[str]) -> list[Remote]:
    """Return the batches that may be the one in doubt. Pure.

    `listed` is newest first. Everything listed before the anchor is newer than it; if the anchor is not listed (deleted),
    creation time is the fallback, with room for clocks that differ.
    """
    ids = [remote.id for remote in listed]
    newer = listed[: ids.index(doubt.anchor)] if doubt.anchor in ids else listed
    earliest, refuted = doubt.started_at - CLOCK_SKEW, (doubt.refuted or "").split(",")
    return [
        remote
        for remote in newer
        if remote.requests == doubt.requests
        and remote.id not in known
        and remote.id not in refuted
        and (doubt.anchor in ids or doubt.anchor is None or remote.created_at >= earliest)
    ]


def _list(runtime: Runtime, open_doubts: Sequence[Doubt]) -> Listing:
    """Read the list from its newest batch back to the oldest anchor in doubt."""
    anchors = {doubt.anchor for doubt in open_doubts}
    earliest = min(doubt.started_at for doubt in open_doubts) - CLOCK_SKEW
    found: list[Remote] = []
    workspace = ""
    for page in runtime.gateway.pages():
        found += page.batches
        workspace = page.workspace
        anchors -= {remote.id for remote in page.batches}
        if not anchors or (page.batches and page.batches[-1].created_at < earliest - CLOCK_SKEW):
            break
    return Listing(tuple(found), runtime.gateway.origin, workspace)


def _resolve(runtime: Runtime, doubt: Doubt, listing: Listing) -> bool:
    if (listing.origin, listing.workspace) != (doubt.origin, doubt.workspace):
        return False
    known = doubts.known_remote_ids(runtime.database, [remote.id for remote in listing.batches])
    found = candidates(doubt, listing.batches, known)
    if len(found) == 1:
        return _adopt(runtime, doubt, found[0])
    if found:
        log.warning("several candidates", submission=doubt.submission_id, candidates=len(found))
        return False
    return _believe_absent(runtime, doubt, listing)


def _adopt(runtime: Runtime, doubt: Doubt, remote: Remote) -> bool:
    adopted = submissions.accepted(
        runtime.database,
        doubt.submission_id,
        remote.id,
        created_at=remote.created_at,
        expires_at=remote.expires_at,
        next_poll_at=0.0,
        confirmed=False,
    )
    if adopted:
        log.info("adopted", batch=doubt.batch_id, submission=doubt.submission_id, remote=remote.id)
    return adopted


def _believe_absent(runtime: Runtime, doubt: Doubt, listing: Listing) -> bool:
    """Give a submission up only when it had time to appear, and the list shows what an honest list must show."""
    if runtime.database.now() - doubt.since < runtime.settings.doubt_grace:
        return False
    if reason := _distrust(runtime, doubt, {remote.id for remote in listing.batches}):
        log.error("stays in doubt", submission=doubt.submission_id, reason=reason)
        doubts.explain(runtime.database, doubt.submission_id, f"in doubt: {reason}")
        return False
    abandoned = doubts.abandon(runtime.database, doubt.submission_id, "not listed by the API within DOUBT_GRACE")
    if abandoned:
        log.warning("believed absent, goes again", batch=doubt.batch_id, submission=doubt.submission_id)
    return abandoned


def _distrust(runtime: Runtime, doubt: Doubt, listed: set[str]) -> str | None:
    """Say why a list is no evidence of absence: it lacks a batch that is known to be there. None if it may be believed."""
    later = doubts.accepted_after(runtime.database, doubt.submission_id, doubt.workspace)
    if later and not later & listed:
        return "the API's list does not show batches of ours that are known to be there"
    if doubt.anchor is None or doubt.anchor in listed:
        return None
    try:
        runtime.gateway.retrieve(doubt.anchor)
    except Refused as error:
        return None if error.status == 404 else f"the API's list cannot be checked ({error.error_type})"
    except GatewayError:
        return "the API's list cannot be checked now"
    return f"the API's list does not show {doubt.anchor}, which is there"
