"""What Flower and the logs are told of a task: what it works on, what came of it, why it failed. Never content."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery import Task
from celery.exceptions import Retry

from bakehouse_worker.log import logger

log = logger("tasks")


class Again(Retry):
    """The work is to be done again, as the tables say and when they say. Flower shows the task as RETRY, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.exc = self  # what Celery sends to Flower as the reason

    def __repr__(self) -> str:
        return f"Again({self.message!r})"

    def __reduce__(self) -> tuple[type[Again], tuple[str]]:
        return Again, (str(self.message),)


class Failed(Exception):
    """The work has failed for good, or a station broke. Flower shows the task as FAILURE, with this reason."""


class Station(Task):  # type: ignore[type-arg]
    """A task that tells. What it returns is its result in Flower; an error is told by type and place: its text may hold content."""

    throws = (Failed,)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the station once."""
        try:
            return self.run(*arguments, **named)
        except (Again, Failed):
            raise
        except Exception as error:
            reason, where = broke(error), _places(error)
            log.error("station broke", station=self.name.removeprefix("bakehouse."), reason=reason, where=where)
            raise Failed(f"{reason} at {where[-1] if where else 'an unknown place'}") from None


def broke(error: BaseException) -> str:
    """Return an error in a few words that hold no content: its type; of a database that is away, what the driver says."""
    from bakehouse_worker.store.database import away  # late: beat knows the tasks, and needs no store

    reason = away(error)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "bakehouse" in frame.filename][1:]


def arguments(words: Sequence[Any], requests: int | None) -> str:
    """Return what Flower shows of a doorbell's arguments, such as `(batch 42, 10,000 requests)`."""
    if not words:
        return "()"
    batch_id, *records = words
    if records and records[0]:
        chosen = records[0]
        return (
            f"(batch {batch_id}, record {chosen[0]})"
            if len(chosen) == 1
            else f"(batch {batch_id}, {len(chosen):,} results)"
        )
    return (
        f"(batch {batch_id})" if requests is None else f"(batch {batch_id}, {requests:,} request{'s'[: requests != 1]})"
    )


def counted(**numbers: int) -> str:
    """Return `3 succeeded, 1 failed` of what is not zero, or `nothing`."""
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items() if number) or "nothing"
