"""What became of records: `get_outcome()`, `wait()`, `iter_outcomes()` and `job()`.

Answers are in the store, so these need what the workers need: `pip install 'bakehouse[worker]'`, and the same BAKEHOUSE_DATA_DIR or
BAKEHOUSE_DATABASE_URL. Nothing here changes a record but `Job.cancel()`. All of it may be called from any thread, and after a fork.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from bakehouse.client import Receipt, default_client
from bakehouse.errors import ConfigurationError, InboxUnavailable, InvalidRecord, NotEnded
from bakehouse.outcome import Outcome
from bakehouse.record import check_custom_id, check_job

#: Seconds between two looks of a wait: the first, and the longest.
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0
#: What a record may end as, for an application.
STATUSES = ("succeeded", "failed", "canceled", "rejected")


@dataclass(frozen=True, slots=True)
class Progress:
    """How many records of a job stand where; costs the same however many there are.

    expected   in all, if the job was closed; None while it is open
    pending    accepted, and wait for a batch, or for their backoff
    in_batches in a batch that is packed, at the API, or being collected
    rejected   receipts that were refused on acceptance
    """

    job: str
    expected: int | None = None
    pending: int = 0
    in_batches: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    rejected: int = 0

    @property
    def ended(self) -> int:
        """Records and receipts that have reached their end."""
        return self.succeeded + self.failed + self.canceled + self.rejected

    @property
    def known(self) -> int:
        """Records and receipts that the store has seen; what stands in the inbox is not among them."""
        return self.ended + self.pending + self.in_batches

    @property
    def done(self) -> bool:
        """Whether the job is closed, everything that it expects has come, and all of it has ended."""
        return self.expected is not None and self.known >= self.expected and self.ended == self.known


class Reader(Protocol):
    """What reading needs of the store; the workers' part of this distribution has the only one."""

    def outcomes(self, receipts: Sequence[Receipt]) -> dict[Receipt, Outcome]:
        """Return the outcomes of those of these receipts, all of one job, that have ended. An empty digest means any."""

    def iterate(self, job: str, status: str | None) -> Iterator[Outcome]:
        """Yield a job's outcomes in the order of acceptance."""

    def progress(self, jobs: Sequence[str]) -> dict[str, Progress]:
        """Return the progress of those of these jobs that are known."""

    def cancel(self, job: str) -> int:
        """Cancel what has no end yet; returns how many records that concerns."""


def get_outcome(custom_id: str, *, job: str = "default") -> Outcome | None:
    """Return what became of a record; None while it has no end, or if the store knows nothing of it (it may stand in the inbox).

    Raises InvalidRecord for what can be no custom_id, and ConfigurationError if the store cannot be found or reached.
    """
    wanted = Receipt(check_job(job), check_custom_id(custom_id), "")
    return _reader().outcomes([wanted]).get(wanted)


def iter_outcomes(job: str, *, status: str | None = None) -> Iterator[Outcome]:
    """Yield what has ended of a job, in the order of acceptance; with a status, only those. Memory does not grow with their number.

    What ends while it runs may or may not be among them. `status` is "succeeded", "failed", "canceled" or "rejected"; without one,
    rejected receipts are left out, because they never became records. Raises UnknownJob, InvalidRecord and ConfigurationError.
    """
    if status is not None and status not in STATUSES:
        raise InvalidRecord("status", f"must be one of {', '.join(STATUSES)}, not {status!r}")
    return _reader().iterate(check_job(job), status)


def wait(receipts: Receipt | Iterable[Receipt], *, timeout: float | None = None) -> list[Outcome]:
    """Wait until all of these have ended, and return their outcomes in the order of the receipts.

    A look asks for the jobs' counters, and for the receipts only when those have moved, hundreds in one question: a thousand receipts
    cost no more looks than one. After `timeout` seconds it raises NotEnded, which has what has ended by then; InvalidRecord for
    what is no receipt.
    """
    wanted = [receipts] if isinstance(receipts, Receipt) else list(receipts)
    if wrong := [each for each in wanted if not isinstance(each, Receipt)]:
        told = f'must be what enqueue_record() returned, or Receipt(job, custom_id, ""), not {type(wrong[0]).__name__}'
        raise InvalidRecord("receipts", told)
    found: dict[Receipt, Outcome] = {}
    for moved in _looks({receipt.job for receipt in wanted}, timeout):
        for job in moved:
            found |= _reader().outcomes([each for each in wanted if each.job == job and each not in found])
        if all(each in found for each in wanted):
            return [found[each] for each in wanted]
    waiting = [each for each in wanted if each not in found]
    told = f"{len(waiting):,} of {len(wanted):,} records have not ended within {timeout} s, such as {waiting[0].custom_id!r}"
    raise NotEnded(told, [found[each] for each in wanted if each in found], waiting)


@dataclass(frozen=True, slots=True)
class Job:
    """A job by its name, whether anything was enqueued into it yet or not. Make it by `job()`."""

    name: str

    def progress(self) -> Progress:
        """Return where its records stand. A job of which the store knows nothing yet has none."""
        return _reader().progress([self.name]).get(self.name, Progress(self.name))

    def close(self, expected: int | None = None) -> None:
        """Say that no more records come, so that its last batch leaves without waiting: `expected` in all, or those enqueued so far.

        Records that are enqueued later are taken all the same.
        """
        default_client().close(self.name, expected=expected)

    def wait(self, *, timeout: float | None = None) -> Progress:
        """Wait until the job is done: closed, and everything that it expects has ended. Returns its last progress.

        Whatever was enqueued before the call is waited for, too, also in a job that was done before. Raises NotEnded after `timeout`
        seconds; a job that nobody closes is never done.
        """
        progress, accepted = Progress(self.name), _accepted()
        for _ in _looks({self.name}, timeout):
            all_in = accepted()  # asked first: what is accepted after this is not what was enqueued before
            progress = self.progress()
            if all_in and progress.done:
                return progress
        left = f"{progress.ended:,} of {progress.known:,} records have ended"
        state = left if progress.expected is not None else f"{left}, and the job is not closed: call .close()"
        raise NotEnded(f"job {self.name!r} is not done within {timeout} s: {state}")

    def cancel(self) -> int:
        """Cancel all its records that have no end yet; returns how many that concerns.

        What is not sent ends at once; of what is sent, nothing goes again, and the API is asked to cancel it: what has run by then is
        billed, and its answers are kept. Raises UnknownJob.
        """
        return _reader().cancel(self.name)

    def outcomes(self, status: str | None = None) -> Iterator[Outcome]:
        """Yield what has ended of it, as `iter_outcomes()` does."""
        return iter_outcomes(self.name, status=status)


def job(name: str) -> Job:
    """Return a job by its name, to look at it, wait for it, close or cancel it."""
    return Job(check_job(name))


def _accepted() -> Callable[[], bool]:
    """Return what tells whether everything has been accepted that stands in the inbox now. A process without a Redis cannot know."""
    try:
        inbox = default_client()._inbox
        mark = inbox.mark()
    except (ConfigurationError, InboxUnavailable):
        return lambda: True
    passed = False

    def accepted() -> bool:
        nonlocal passed
        passed = passed or inbox.passed(mark)
        return passed

    return accepted


def _looks(jobs: set[str], timeout: float | None) -> Iterator[set[str]]:
    """Yield the jobs in which something has ended since the last look, all of them at first, until the time is over."""
    began, pause = time.monotonic(), FIRST_LOOK
    ended: dict[str, int] = {}
    while True:
        now = {name: progress.ended for name, progress in _reader().progress(sorted(jobs)).items()}
        moved = {name for name in jobs if now.get(name, 0) != ended.get(name, -1)}
        ended = {name: now.get(name, 0) for name in jobs}
        yield moved
        left = float("inf") if timeout is None else began + timeout - time.monotonic()
        if left <= 0:
            return
        pause = FIRST_LOOK if moved else min(LONGEST_LOOK, pause * 1.5)
        time.sleep(min(pause, left))


def _reader() -> Reader:
    return _reader_of(os.getpid())


@lru_cache(maxsize=1)
def _reader_of(_process: int) -> Reader:
    """Return this process's reader, by name: what applications import knows nothing of the workers until it is asked for answers."""
    try:
        found: Reader = importlib.import_module("bakehouse_worker.reader").open_reader()
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"reading answers needs the store's parts ({error.name} is missing): pip install 'bakehouse[worker]'"
        ) from None
    return found
