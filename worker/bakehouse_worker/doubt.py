"""Decide about a create whose answer was lost. Pure: the same list and the same history give the same verdict.

Candidates are the batches that the API lists as newer than the submission's anchor, with its request count, that no submission of
ours has. One that still runs is adopted: its results will prove or refute it. One that has ended is read first. Several wait for
their ends. None, after DOUBT_GRACE, from a list that tells the whole truth, means that the create never arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bakehouse_worker.remote import Remote

#: Seconds for which a submission that was believed absent is looked for in the list all the same.
WATCH_FOR = 48 * 3600.0
#: What a person may do when nothing else decides.
BY_HAND = "if you know better: bakehouse batch adopt|release"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A submission whose answer is not known. `since` is when its last bytes may have gone out, by our clock.

    `anchor` is the newest batch that the API listed before the upload, `anchor_at` its creation by the API's clock.
    """

    submission_id: int
    batch_id: int
    nonce: str
    requests: int
    origin: str
    workspace: str
    anchor: str | None
    anchor_at: float | None
    since: float
    refuted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listing:
    """What the API listed, newest first, for whom, and whether the walk came to its end instead of breaking off."""

    batches: tuple[Remote, ...]
    origin: str
    workspace: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Adopt:
    """This is probably the batch; its results will tell."""

    remote: Remote


@dataclass(frozen=True, slots=True)
class Read:
    """These have ended: one line of each tells whose it is."""

    remotes: tuple[Remote, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be decided now, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Absent:
    """No candidate, and time enough to appear: believed absent if the list proves to tell the truth."""


Verdict = Adopt | Read | Wait | Absent


def decide(doubt: Doubt, listing: Listing, known: Collection[str], now: float, grace: float) -> Verdict:
    """Return what to do about one doubt. `known` are the listed ids that submissions of ours have; `grace` is seconds."""
    if (listing.origin, listing.workspace) != (doubt.origin, doubt.workspace):
        return Wait(f"the key now set is of another origin or workspace; set the one it was sent with ({BY_HAND})")
    found = candidates(doubt, listing.batches, known)
    ended = tuple(remote for remote in found if remote.status == "ended")
    if ended:
        return Read(ended)
    if len(found) == 1:
        return Adopt(found[0])
    if found:
        return Wait(f"{len(found)} batches of {doubt.requests:,} requests may be it; when they end, their results tell")
    if not listing.whole:
        return Wait("the API's list broke off; it is read again")
    if now - doubt.since < grace:
        return Wait("not listed by the API yet; looked for until DOUBT_GRACE has passed")
    return Absent()


def candidates(doubt: Doubt, listed: Sequence[Remote], known: Collection[str]) -> list[Remote]:
    """Return the batches that may be the one in doubt, newest first.

    Everything listed before the anchor is newer than it. If the anchor is not listed (deleted), what was created before it, by the
    API's own clock, is older; our clock says nothing about the API's.
    """
    ids = [remote.id for remote in listed]
    anchored = doubt.anchor in ids
    newer = listed[: ids.index(doubt.anchor)] if doubt.anchor is not None and anchored else listed
    return [
        remote
        for remote in newer
        if remote.requests == doubt.requests
        and remote.id not in known
        and remote.id not in doubt.refuted
        and (anchored or doubt.anchor_at is None or remote.created_at >= doubt.anchor_at)
    ]
