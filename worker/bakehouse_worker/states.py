"""The states that records, batches and submissions stand in, and the only ways from one to another.

A record's failure, doubt or wait is found by its state: grep for the state's name, and the verb in `store` that writes it is next.
"""

from __future__ import annotations

from enum import StrEnum


class RecordState(StrEnum):
    """Where one record stands."""

    PENDING = "pending"  #: waits to be packed, at the earliest at `next_at`
    PACKED = "packed"  #: chosen for a batch, perhaps sent; the batch tells
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


#: The states from which a record goes nowhere by itself.
TERMINAL = (RecordState.SUCCEEDED, RecordState.FAILED, RecordState.CANCELED)


class BatchState(StrEnum):
    """Where one batch stands."""

    PACKED = "packed"  #: members chosen, nothing sent
    UPLOADING = "uploading"  #: the body streams, its last bytes held back
    CLOSING = "closing"  #: the last bytes may be out
    IN_DOUBT = "in_doubt"  #: the server may or may not have it
    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"  #: results wait to be collected
    COLLECTED = "collected"  #: every member is accounted for
    DISSOLVED = "dissolved"  #: members went elsewhere (split, or none left)


#: The only ways from one batch state to another; `store` verbs are compare-and-sets along these.
BATCH_TRANSITIONS: frozenset[tuple[BatchState, BatchState]] = frozenset(
    {
        (BatchState.PACKED, BatchState.UPLOADING),
        (BatchState.PACKED, BatchState.DISSOLVED),
        (BatchState.PACKED, BatchState.IN_PROGRESS),
        (BatchState.UPLOADING, BatchState.PACKED),
        (BatchState.UPLOADING, BatchState.CLOSING),
        (BatchState.UPLOADING, BatchState.IN_PROGRESS),
        (BatchState.CLOSING, BatchState.PACKED),
        (BatchState.CLOSING, BatchState.IN_PROGRESS),
        (BatchState.CLOSING, BatchState.IN_DOUBT),
        (BatchState.IN_DOUBT, BatchState.IN_PROGRESS),
        (BatchState.IN_DOUBT, BatchState.PACKED),
        (BatchState.IN_PROGRESS, BatchState.CANCELING),
        (BatchState.IN_PROGRESS, BatchState.ENDED),
        (BatchState.IN_PROGRESS, BatchState.IN_DOUBT),
        (BatchState.CANCELING, BatchState.ENDED),
        (BatchState.CANCELING, BatchState.IN_DOUBT),
        (BatchState.ENDED, BatchState.COLLECTED),
        (BatchState.ENDED, BatchState.IN_DOUBT),
        (BatchState.ENDED, BatchState.IN_PROGRESS),
    }
)

#: States in which the API has a batch of ours, as far as we know.
OPEN_STATES = (BatchState.IN_PROGRESS, BatchState.CANCELING)


class SubmissionState(StrEnum):
    """What became of one POST."""

    UPLOADING = "uploading"
    CLOSING = "closing"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"  #: its remote id is known
    REFUSED = "refused"  #: a definite answer said no, or its last bytes were never sent
    ABANDONED = "abandoned"  #: believed absent, on evidence
    LATE = "late"  #: believed absent, and there after all: paid for twice


#: Submissions that may be alive at the API without a known id: no two of one request count at a time.
LIVE_SUBMISSIONS = (SubmissionState.UPLOADING, SubmissionState.CLOSING, SubmissionState.IN_DOUBT)
