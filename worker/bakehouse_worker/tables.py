"""The tables: what is true. Redis and Celery may vanish; these rows say what is to be done next.

Times are seconds since 1970 (floats). No update touches a row that holds a blob: bodies and results are inserted once. "Sent" is
not written per record: a record is `packed` from its choice for a batch until its result is settled, and the batch says the rest.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text, text
from sqlmodel import Field, SQLModel

#: Rowids on SQLite must be INTEGER; PostgreSQL needs 64 bits.
BigId = BigInteger().with_variant(Integer, "sqlite")


def _partial(condition: str, name: str, *columns: str, unique: bool = False) -> Index:
    """Return an index over those rows only for which a condition holds."""
    return Index(name, *columns, unique=unique, sqlite_where=text(condition), postgresql_where=text(condition))


class Job(SQLModel, table=True):
    """Records that belong together. `expected` is set when the job is closed."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    name: str = Field(unique=True)
    created_at: float
    expected: int | None = Field(default=None, sa_type=BigInteger)
    origin: str | None = None
    workspace: str | None = None
    tombstone_key: str | None = None  #: hex, made with the job's first tombstone: none means that it has none
    rejected_pruned: int = Field(default=0, sa_type=BigInteger)  #: rejected receipts that are only a number by now
    canary: int | None = None  #: records that go ahead until their results decide about the others; None: all may go


class Lane(SQLModel, table=True):
    """What records of one job have in common on their way out: few rows, so that a record's own row stays narrow."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    job_id: int = Field(sa_type=BigInteger, index=True)
    key: str = Field(unique=True)  #: digest of all the columns below and the job
    priority: int
    api_version: str
    betas: str  #: comma list, sorted
    on_result: str | None = None
    #: empty before 0002
    model: str = Field(default="", sa_column=Column(String, nullable=False, server_default=text("''")))


_WITH_CONTENT = "settled_at IS NOT NULL AND content_gone_at IS NULL"
_WITHOUT_CONTENT = "settled_at IS NOT NULL AND content_gone_at IS NOT NULL"


class Record(SQLModel, table=True):
    """One request of the application's, whatever it takes to get it answered."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    job_id: int = Field(sa_type=BigInteger)
    custom_id: str
    lane_id: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)  #: the inbox entry's id as a number: order of arrival
    bytes: int  #: length of the params
    digest: str
    model: str
    state: str
    batch_id: int | None = Field(default=None, sa_type=BigInteger)
    generation: int = 0  #: which body counts: a new body under the same custom_id is a new generation
    attempt: int = 0  #: counts every sending that ended; part of the id on the wire
    failures: int = 0  #: attempts burned
    expiries: int = 0
    next_at: float  #: due time, and place in the queue
    settled_at: float | None = None
    content_gone_at: float | None = None  #: when bodies and answers were pruned or erased
    erased_at: float | None = None  #: when a person had the content erased
    cancel_asked_at: float | None = None  #: since when it is to be canceled; if it was sent, its answer still counts

    __table_args__ = (
        Index("record_by_custom_id", "job_id", "custom_id", unique=True),
        Index("record_of_job", "job_id", "id"),
        _partial("state = 'pending'", "record_due", "lane_id", "next_at", "seq"),
        _partial("state = 'packed'", "record_of_batch", "batch_id", "id"),
        _partial("state = 'failed'", "record_failed", "job_id", "id"),
        # What has ended, oldest first: in one of these, so that neither step of pruning meets what it has done.
        _partial(_WITH_CONTENT, "record_with_content", "settled_at", "id"),
        _partial(_WITHOUT_CONTENT, "record_without_content", "settled_at", "id"),
        {"sqlite_autoincrement": True},  # ids are told outside (deliveries, the wire): a pruned one never comes again
    )


class Tombstone(SQLModel, table=True):
    """What stays of a pruned record, so that a late doubling is still known. Its custom_id is here as a keyed hash alone."""

    custom_hash: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))  #: 16 bytes, under the job's key
    job_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    digest: str
    state: str
    pruned_at: float

    __table_args__ = ({"sqlite_with_rowid": False},)


class Body(SQLModel, table=True):
    """What is asked, as the bytes that go on the wire. Insert-only."""

    record_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    generation: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    params: bytes = Field(sa_type=LargeBinary)
    first_attempt: int | None = None  #: the first attempt that sends it; None of a later generation: not known
    metadata_json: bytes | None = Field(default=None, sa_type=LargeBinary)

    __table_args__ = (_partial("metadata_json IS NOT NULL", "body_with_metadata", "record_id", "generation"),)


class Batch(SQLModel, table=True):
    """Requests that travel together, and the lease of whoever works on them now."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    state: str
    api_version: str
    betas: str
    requests: int
    bytes: int  #: of the members' params
    created_at: float
    not_before: float = 0.0  #: backoff after a failed upload or an incomplete collection
    tries: int = 0  #: failures in a row behind `not_before`
    lease_owner: str | None = None
    lease_until: float = 0.0
    submission_id: int | None = Field(default=None, sa_type=BigInteger)
    next_poll_at: float = 0.0
    submitted_at: float | None = None  #: by our clock
    remote_created_at: float | None = None  #: by the API's clock: its list is ordered by it, retention counts from it
    expires_at: float | None = None
    ended_at: float | None = None
    finished_at: float | None = None  #: every member settled, or dissolved
    alarm: str | None = None  #: what a person should know, in one sentence
    cancel_asked_at: float | None = None  #: since when the API is to be asked to cancel it: all its members are

    __table_args__ = (
        _partial("finished_at IS NULL", "batch_live", "state"),
        _partial("finished_at IS NOT NULL", "batch_finished", "finished_at"),
        {"sqlite_autoincrement": True},
    )


LIVE = "state IN ('uploading', 'closing', 'in_doubt')"


class Submission(SQLModel, table=True):
    """One row per POST ever tried, committed before it. `anchor` is the newest batch the API listed before the upload."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    batch_id: int = Field(sa_type=BigInteger, index=True)
    nonce: str = Field(unique=True)
    state: str
    requests: int
    origin: str
    workspace: str
    anchor: str | None = None
    anchor_at: float | None = None  #: the anchor's creation, by the API's clock
    started_at: float
    closing_at: float | None = None
    resolved_at: float | None = None
    remote_id: str | None = Field(default=None, unique=True)
    confirmed: bool = False  #: the remote id came with the answer, or a result line carried our nonce
    refuted: str | None = None  #: remote ids, by commas, that proved to be somebody else's
    lacking_since: float | None = None  #: since when a list that nothing vouches for does not show it
    note: str | None = None
    remote_deleted_at: float | None = None  #: of the API's batch: all of its content was pruned or erased here

    __table_args__ = (
        # No two of ours look alike: the request count tells submissions in doubt apart.
        _partial(LIVE, "submission_distinct", "workspace", "requests", unique=True),
        _partial("state = 'abandoned'", "submission_watched", "resolved_at"),
        {"sqlite_autoincrement": True},
    )


#: Why an answer is not what was asked: stop reasons, and an error type of our own on a success that says nothing.
CUT_SHORT, EMPTY = ("refusal", "max_tokens", "pause_turn", "model_context_window_exceeded"), "empty"
CAVEAT = f"kind = 'succeeded' AND (error_type = '{EMPTY}' OR stop_reason IN {CUT_SHORT!r})"


class Result(SQLModel, table=True):
    """One answer to one sending, as the API's own line. Insert-only; failed attempts stay."""

    record_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    attempt: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    batch_id: int = Field(sa_type=BigInteger, index=True)
    kind: str  #: succeeded, errored, canceled, expired, missing, gone, or what the API calls it
    error_type: str | None = None
    error: str | None = Field(default=None, sa_type=Text)
    stop_reason: str | None = None
    request_id: str | None = None  #: the API's, of a request that failed: what its support asks for
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost: float | None = None  #: USD at batch prices; None: unknown model
    cost_sync: float | None = None  #: USD that a synchronous call would have cost
    received_at: float
    line: bytes = Field(sa_type=LargeBinary)

    __table_args__ = (_partial(CAVEAT, "result_caveat", "record_id", "attempt"),)


class Delivery(SQLModel, table=True):
    """One outcome on its way to the application's code. Rows exist only where there is a sink."""

    record_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    generation: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    sink: str
    state: str  #: waiting, delivered, failed, dropped
    attempts: int = 0
    next_at: float
    lease_until: float = 0.0
    error: str | None = Field(default=None, sa_type=Text)

    __table_args__ = (
        _partial("state = 'waiting'", "delivery_waiting", "lease_until", "next_at"),
        _partial("state = 'failed'", "delivery_failed", "record_id"),
    )


class Rejected(SQLModel, table=True):
    """A receipt that was found invalid or in conflict on acceptance, and why."""

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    entry: str = Field(unique=True)  #: the inbox entry's id, so that a second reading changes nothing
    job: str = Field(index=True)
    custom_id: str
    digest: str
    reason: str
    at: float


class Counter(SQLModel, table=True):
    """How many records of a job stand in a state; kept by deltas in the transactions that move them."""

    job_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    state: str = Field(primary_key=True)  #: a RecordState, or `rejected`
    records: int = Field(sa_type=BigInteger)


class Spend(SQLModel, table=True):
    """What a job's settled answers used and cost, by model; kept by deltas like the counters. Money is USD."""

    job_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    model: str = Field(primary_key=True)
    answers: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    cache_write_tokens: int = Field(sa_type=BigInteger)
    cache_read_tokens: int = Field(sa_type=BigInteger)
    unpriced: int = Field(sa_type=BigInteger)  #: answers whose model has no known price
    cost: float
    cost_sync: float


class Caveat(SQLModel, table=True):
    """How many of a job's succeeded records have an answer that is not what was asked; kept by deltas like the counters."""

    job_id: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    reason: str = Field(primary_key=True)  #: a stop reason such as `refusal` or `max_tokens`, or `empty`
    records: int = Field(sa_type=BigInteger)


class Tally(SQLModel, table=True):
    """How many settled results said what; kept by deltas like the counters, for all jobs together."""

    kind: str = Field(primary_key=True)  #: as in Result
    reason: str = Field(primary_key=True)  #: its error type or stop reason, or empty
    results: int = Field(sa_type=BigInteger)


class Hold(SQLModel, table=True):
    """Why submissions wait, since when, and until when (None: until a person or a probe ends it)."""

    scope: str = Field(primary_key=True)  #: `submit` (all of them), `model:NAME` or `job:NAME`
    kind: str  #: paused (a person), circuit (the API refuses), retry_after, restored (a backup), parked (model, job)
    reason: str
    since: float
    until: float | None = None


class Meta(SQLModel, table=True):
    """Facts about the installation: its id, origin and workspace, the last tick, the last poll."""

    key: str = Field(primary_key=True)
    value: str


def table(model: type[SQLModel]) -> Table:
    """Return the Core table of a model: bulk statements are Core, the ORM is for single rows."""
    found: Any = model.__table__  # type: ignore[attr-defined]
    assert isinstance(found, Table)  # noqa: S101
    return found
