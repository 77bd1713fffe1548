"""Dead letters of deliveries: outcomes that their sinks did not take. Listed, sent to them again, or dropped; no record goes again.

The same for the command line (`dead ... --deliveries`) and for Python: `list_undelivered`, `deliver_again`, `drop`.
"""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse import ConfigurationError
from bakehouse_worker.local.progress import counted
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import reading, undelivered
from bakehouse_worker.store.undelivered import Undelivered
from bakehouse_worker.wrapping import wrapped

log = logger("dead")


def list_undelivered(runtime: Runtime, job: str | None = None) -> list[Undelivered]:
    """Return what was given up, by job and sink. Raises ConfigurationError for a job that is not known."""
    _check_job(runtime, job)
    return undelivered.given_up(runtime.database, job)


def deliver_again(runtime: Runtime, custom_ids: Sequence[str] = (), job: str | None = None) -> int:
    """Hand over again what was given up, with all its attempts; returns how many. Without a selection: everything."""
    _check_job(runtime, job)
    moved = undelivered.send_again(runtime.database, tuple(custom_ids), job)
    log.info("deliveries requeued", outcomes=moved)
    return moved


def drop(runtime: Runtime, custom_ids: Sequence[str] = (), job: str | None = None) -> int:
    """Give up for good what was given up; returns how many. The answers stay, for `export` and `get_outcome`."""
    _check_job(runtime, job)
    dropped = undelivered.drop(runtime.database, tuple(custom_ids), job)
    log.info("deliveries dropped", outcomes=dropped)
    return dropped


def told(letters: Sequence[Undelivered]) -> list[str]:
    """Return what was given up as lines for a terminal of 80 columns."""
    lines = ["not delivered"] if letters else []
    for each in letters:
        outcomes = counted(each.outcomes, "outcome")
        lines += wrapped(f"{each.job}: {outcomes} to {each.sink}, such as {each.example}", 2, 4)
        lines += wrapped(each.error, 6, 0) if each.error else []
    return lines or ["every outcome was delivered, or waits to be"]


def _check_job(runtime: Runtime, job: str | None) -> None:
    if job is not None and not reading.jobs(runtime.database, job):
        raise ConfigurationError(f"no job {job!r} is known; `bakehouse status` names those that are")
