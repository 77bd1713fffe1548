"""Stop and start submissions by hand: all of them, a job's, or those that ask for a model. For the command line and for Python."""

from __future__ import annotations

from bakehouse import ConfigurationError
from bakehouse_worker import models
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import holds, reading

_ALL = "submissions"


def pause(runtime: Runtime, reason: str, *, job: str | None = None, model: str | None = None) -> str:
    """Let what was not sent yet wait until `resume`; returns what was done, in a sentence.

    Raises ConfigurationError for a job that is not known.
    """
    for what, name in _chosen(runtime, job, model):
        if not holds.park(runtime.database, what, name, reason):
            return f"{what} {name} waited already"
        return f"{what} {name} is paused: nothing of it is sent until `bakehouse resume --{what} {name}`"
    standing = holds.standing(runtime.database)
    if standing is not None and standing.kind in holds.STANDING:
        return f"{_ALL} were paused already: {standing.reason}"
    holds.hold(runtime.database, holds.PAUSED, reason, None)
    return f"{_ALL} are paused; what is at the API goes on there"


def resume(runtime: Runtime, *, job: str | None = None, model: str | None = None) -> str:
    """Let records go on at once; returns what was done, in a sentence.

    Raises ConfigurationError for a job that is not known, and for a restored database, whose books are to be compared first.
    """
    for what, name in _chosen(runtime, job, model):
        free = models.released if what == holds.MODEL else _unpark_job
        return f"{what} {name} goes on" if free(runtime, name) else f"{what} {name} was not parked"
    standing = holds.standing(runtime.database)
    if standing is None:
        return f"{_ALL} were not paused"
    if standing.kind == holds.RESTORED:
        raise ConfigurationError(standing.reason)
    holds.release(runtime.database)
    return f"{_ALL} go on; they were paused because {standing.reason}"


def _chosen(runtime: Runtime, job: str | None, model: str | None) -> list[tuple[str, str]]:
    if job is not None and model is not None:
        raise ConfigurationError("say either --job or --model, not both")
    if job is not None and not reading.jobs(runtime.database, job):
        names = ", ".join(found.name for found in reading.jobs(runtime.database)) or "none yet"
        raise ConfigurationError(f"no job {job!r} is known; there are: {names}")
    return [(holds.JOB, job)] if job is not None else [(holds.MODEL, model)] if model is not None else []


def _unpark_job(runtime: Runtime, name: str) -> bool:
    return holds.unpark(runtime.database, holds.JOB, name)
