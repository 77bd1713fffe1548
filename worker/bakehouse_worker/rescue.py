"""Janitor: leases that ran out, and creates whose answer was lost (`doubt.py` decides, this file looks and acts)."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse_worker import doubt, wire
from bakehouse_worker.accept import accept
from bakehouse_worker.doubt import BY_HAND, WATCH_FOR, Adopt, Doubt, Listing, Read, Wait
from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import doubts, holds, submissions

#: Seconds between two looks at the list while something is in doubt.
LOOK_EVERY = 5.0
#: Seconds between two looks for submissions that were believed absent.
WATCH_EVERY = 600.0
#: Batches read per look and doubt: each costs a call, once.
READ = 20
#: A list that nothing vouches for must lack a batch at two looks, this share of DOUBT_GRACE apart: one answer may be wrong.
AGREE = 0.5
#: Batches known to be there that are asked for one by one when a list shows none of them.
ASKED = 3

log = logger("rescue")


def rescue(runtime: Runtime) -> int:
    """Take back expired leases and look into every doubt; returns how many doubts were resolved."""
    uploads, closings = doubts.rescue_leases(runtime.database)
    if uploads or closings:
        log.warning("leases expired", uploads=uploads, closings=closings)
    database, resolved = runtime.database, 0
    open_doubts = doubts.in_doubt(database)
    if open_doubts and holds.claim_turn(database, "doubts_at", _interval(runtime)):
        listing = _list(runtime, open_doubts)
        if listing is not None:
            resolved = sum(_resolve(runtime, each, listing) for each in open_doubts)
    abandoned = doubts.abandoned(database, database.now() - WATCH_FOR)
    if abandoned and holds.claim_turn(database, "watched_at", WATCH_EVERY):
        _watch(runtime, abandoned)
    return resolved


def look_is_due(runtime: Runtime, *, doubting: bool) -> bool:
    """Tell whether it is time to look at the list again: for doubts, or else for submissions believed absent."""
    if doubting and holds.turn_is_due(runtime.database, "doubts_at", _interval(runtime)):
        return True
    return holds.turn_is_due(runtime.database, "watched_at", WATCH_EVERY)


def _interval(runtime: Runtime) -> float:
    return min(LOOK_EVERY, runtime.settings.poll_interval)


def after_crash(runtime: Runtime) -> None:
    """Take everything back at once, where no other worker can be alive: one machine, and its lock is held by the caller."""
    uploads, closings = doubts.rescue_leases(runtime.database, all_of_them=True)
    accept(runtime, stale_after=0.0)
    if uploads or closings:
        log.warning("taken back after a crash", uploads=uploads, closings=closings)


def _list(runtime: Runtime, wanted: Sequence[Doubt]) -> Listing | None:
    """Read the list from its newest batch back to the oldest anchor wanted; None if the API does not tell."""
    anchors = {each.anchor for each in wanted}
    oldest = min((each.anchor_at or 0.0) for each in wanted)
    found: list[Remote] = []
    workspace, whole = "", False
    try:
        for page in runtime.gateway.pages():
            found += page.batches
            workspace = page.workspace
            anchors -= {remote.id for remote in page.batches}
            whole = not anchors or (bool(page.batches) and page.batches[-1].created_at < oldest)
            if whole:
                break
            # the end; but nothing behind a page that promised more means that the list changed while it was read
            whole = not page.has_more and (bool(page.batches) or not found)
    except GatewayError as error:
        log.warning("cannot look into doubts", doubts=len(wanted), reason=type(error).__name__)
        for each in wanted:
            doubts.explain(runtime.database, each.submission_id, f"in doubt: the API's list cannot be read ({BY_HAND})")
        return None
    return Listing(tuple(found), runtime.gateway.origin, workspace, whole)


def _resolve(runtime: Runtime, each: Doubt, listing: Listing) -> bool:
    database = runtime.database
    known = doubts.known_remote_ids(database, [remote.id for remote in listing.batches])
    verdict = doubt.decide(each, listing, known, database.now(), runtime.settings.doubt_grace)
    match verdict:
        case Adopt(remote):
            return _adopt(runtime, each, remote, confirmed=False)
        case Read(remotes):
            return any(_read(runtime, each, remote) for remote in remotes[:READ])
        case Wait(reason):
            doubts.explain(database, each.submission_id, f"in doubt: {reason}")
            return False
        case _:
            return _believe_absent(runtime, each, listing)


def _adopt(runtime: Runtime, each: Doubt, remote: Remote, *, confirmed: bool) -> bool:
    adopted = submissions.accepted(runtime.database, each.submission_id, remote, next_poll_at=0.0, confirmed=confirmed)
    if adopted:
        log.info("adopted", batch=each.batch_id, submission=each.submission_id, remote=remote.id, confirmed=confirmed)
    return adopted


def _read(runtime: Runtime, each: Doubt, remote: Remote) -> bool:
    """Read one line of an ended batch: adopted if it carries the submission's nonce, refuted for ever if another."""
    try:
        nonce = first_nonce(runtime, remote.id)
    except GatewayError as error:
        told = f"in doubt: whose {remote.id} is cannot be read ({type(error).__name__}; {BY_HAND})"
        doubts.explain(runtime.database, each.submission_id, told)
        return False
    if nonce == each.nonce:
        return _adopt(runtime, each, remote, confirmed=True)
    doubts.refute_candidate(runtime.database, each.submission_id, remote.id)
    log.info("not ours", submission=each.submission_id, remote=remote.id)
    return False


def first_nonce(runtime: Runtime, remote_id: str) -> str | None:
    """Return the nonce that a batch's first result line carries; None if it is not of this installation."""
    try:
        with runtime.gateway.results(remote_id) as lines:
            mine = wire.first_of(lines)
    except ValueError:
        raise GatewayError("a line is not whole") from None
    return mine.nonce if mine is not None and mine.installation == runtime.installation else None


def _believe_absent(runtime: Runtime, each: Doubt, listing: Listing) -> bool:
    """Give a submission up only when the list shows what an honest list must show, or when nothing can vouch for it, at two looks."""
    database = runtime.database
    vouched, reason = _vouched(runtime, each, {remote.id for remote in listing.batches})
    if reason:
        log.error("stays in doubt", submission=each.submission_id, reason=reason)
    elif not vouched:
        since = doubts.lacking_since(database, each.submission_id)
        if database.now() - since < AGREE * runtime.settings.doubt_grace:
            reason = "not listed, but nothing that is known to be there vouches for the list: it is read again later"
    if reason:
        doubts.explain(database, each.submission_id, f"in doubt: {reason} ({BY_HAND})")
        return False
    abandoned = doubts.abandon(database, each.submission_id, "not listed by the API within DOUBT_GRACE")
    if abandoned:
        log.warning("believed absent, goes again", batch=each.batch_id, submission=each.submission_id)
    return abandoned


def _vouched(runtime: Runtime, each: Doubt, listed: set[str]) -> tuple[bool, str | None]:
    """Return whether something that is known to be there is in the list, or else why the list is no evidence, if it is none.

    Known to be there are batches of ours that came later, what the list showed when later ones were sent, and the anchor.
    """
    newer = doubts.known_there(runtime.database, each.submission_id, each.workspace)
    for there in filter(None, (newer, [each.anchor] if each.anchor else [])):
        if not listed.isdisjoint(there):
            return True, None
        for remote_id in there[:ASKED]:
            try:
                runtime.gateway.retrieve(remote_id)
            except Refused as error:
                if error.status != 404:  # deleted ones are not listed
                    return False, f"the API's list cannot be checked ({error.error_type})"
            except GatewayError:
                return False, "the API's list cannot be checked now"
            else:
                return False, f"the API's list does not show {remote_id}, which is there"
    return False, None


def _watch(runtime: Runtime, abandoned: Sequence[Doubt]) -> None:
    """Look whether a submission that was believed absent has turned up after all: it was paid for, and its batch was sent again."""
    listing = _list(runtime, abandoned)
    if listing is None:
        return
    known = doubts.known_remote_ids(runtime.database, [remote.id for remote in listing.batches])
    for each in abandoned:
        if (listing.origin, listing.workspace) != (each.origin, each.workspace):
            continue
        for remote in candidates_that_ended(each, listing, known)[:READ]:
            _compare(runtime, each, remote)


def candidates_that_ended(each: Doubt, listing: Listing, known: set[str]) -> list[Remote]:
    """Return the batches that may be a submission believed absent, and can be read."""
    return [remote for remote in doubt.candidates(each, listing.batches, known) if remote.status == "ended"]


def _compare(runtime: Runtime, each: Doubt, remote: Remote) -> None:
    try:
        nonce = first_nonce(runtime, remote.id)
    except GatewayError:
        return
    if nonce != each.nonce:
        doubts.refute_candidate(runtime.database, each.submission_id, remote.id)
    elif doubts.turned_up(runtime.database, each.submission_id, remote.id):
        log.error("turned up late", batch=each.batch_id, submission=each.submission_id, remote=remote.id)
