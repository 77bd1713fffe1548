"""Batches at the API that the store does not know: other software's, or ours, and then the database was restored from a backup.

The list shows no ids of requests, but one result line does. So each process, before its first submission, reads the list back to
the newest batch that it knows, and one line of each ended batch on the way. Usually the first of the list is known, and that is all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bakehouse_worker import epoch, wire
from bakehouse_worker.errors import Refused, Truncated
from bakehouse_worker.log import logger
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import SubmissionState
from bakehouse_worker.store import doubts, epochs, holds

#: One look reads a line of at most this many batches.
LINES = 50
#: Seconds by which clocks may differ.
SKEW = 60.0
#: Seconds until the next look while an unknown batch that may be ours still runs.
AGAIN = 60.0
#: States of a submission of ours for which a batch at the API is no surprise.
EXPECTED = (
    SubmissionState.CLOSING,
    SubmissionState.IN_DOUBT,
    SubmissionState.ACCEPTED,
    SubmissionState.ABANDONED,
    SubmissionState.LATE,
)

log = logger("strangers")


def look(runtime: Runtime) -> bool:
    """Look for batches that betray a restored database, once per process and after every silence; True: submissions wait.

    Raises Refused or Unanswered if the API does not list.
    """
    silence = epochs.silence(runtime.database)
    if runtime.looked and silence is None:
        return False
    found = _newer(runtime)
    for remote in [remote for remote in found if remote.status == "ended"][:LINES]:
        if betrays(runtime, remote):
            if silence is None:
                epochs.note_silence(runtime.database, restored=True)
            epoch.hold(
                runtime,
                f"this database was restored from a backup: the API has {remote.id}, which this installation sent and "
                f"the database does not know; {epoch.REMEDY}",
            )
            return True
    running = [remote for remote in found if remote.status != "ended"]
    if silence is not None and (doubtful := _since(runtime, running, silence.since)):
        _wait(runtime, doubtful[0])
        return True
    if found and not running:
        holds.put(runtime.database, epochs.SEEN, found[0].id)
    if silence is not None:
        epochs.forget_silence(runtime.database)
    runtime.looked = True
    return False


def betrays(runtime: Runtime, remote: Remote) -> bool:
    """Tell whether an ended batch is this installation's and the store believes that there is no such batch."""
    mine = first_id(runtime, remote)
    return (
        mine is not None
        and mine.installation == runtime.installation
        and epochs.expected(runtime.database, mine.nonce) not in EXPECTED
    )


def first_id(runtime: Runtime, remote: Remote) -> wire.WireId | None:
    """Read one result line of an ended batch and return its id; None if it has not our form, or there is no line any more."""
    try:
        with runtime.gateway.results(remote.id) as lines:
            return wire.first_of(lines)
    except (Truncated, ValueError):
        return None
    except Refused as error:
        if error.status != 404:
            raise
        return None


def unknown(runtime: Runtime, since: float) -> Iterator[tuple[Sequence[Remote], set[str]]]:
    """Walk through the API's list, newest first, back to a time; yields each page's batches and which of them are known."""
    for page in runtime.gateway.pages():
        batches = [remote for remote in page.batches if remote.created_at >= since]
        yield batches, doubts.known_remote_ids(runtime.database, [remote.id for remote in batches])
        if len(batches) < len(page.batches):
            return


def _newer(runtime: Runtime) -> list[Remote]:
    """Return the listed batches, newest first, that came after all that the store knows and could hold its records."""
    newest = runtime.gateway.newest().batches
    seen = holds.get(runtime.database, epochs.SEEN)
    if not newest or newest[0].id == seen or doubts.known_remote_ids(runtime.database, [newest[0].id]):
        return []
    oldest = epochs.oldest_unfinished(runtime.database)
    if oldest is None:
        return []
    found: list[Remote] = []
    for batches, known in unknown(runtime, oldest - SKEW):
        for remote in batches:
            if remote.id in known or remote.id == seen:
                return found
            found.append(remote)
    return found


def _since(runtime: Runtime, running: Sequence[Remote], silent_since: float) -> list[Remote]:
    """Return those that were created after our last sign of life: whoever made them may have been us."""
    earliest = silent_since + epochs.clock_ahead(runtime.database) - SKEW
    return [remote for remote in running if remote.created_at >= earliest]


def _wait(runtime: Runtime, remote: Remote) -> None:
    reason = (
        f"{remote.id} came to the API while nothing ran here; when it has ended, one result line tells whether it is ours, "
        "and until then the same might be sent twice"
    )
    holds.hold(runtime.database, holds.RETRY_AFTER, reason, runtime.database.now() + AGAIN)
    log.warning("waits for an unknown batch", remote=remote.id)
