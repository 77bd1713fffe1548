"""Station 7, the last: hand each outcome to the application's own code. At least once, with a stable delivery id.

Users' code may hang or crash, so this station has a process of its own, and what fails here never bills anything again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from bakehouse.outcome import Outcome
from bakehouse_worker import retry
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import deliveries
from bakehouse_worker.store.deliveries import Parcel

#: Outcomes per turn.
SPAN = 100

log = logger("deliver")


@dataclass(slots=True)
class Tried:
    """What became of a span of outcomes; `reason` is the type of a handler's error."""

    delivered: int = 0
    failed: int = 0
    reason: str | None = None


def deliver(runtime: Runtime) -> Tried:
    """Deliver what is due, one span."""
    tried = Tried()
    parcels = deliveries.claim(runtime.database, SPAN, runtime.settings.lease)
    for position, parcel in enumerate(parcels):
        if runtime.stopping():
            deliveries.hand_back(runtime.database, [(p.record_id, p.generation) for p in parcels[position:]])
            break
        try:
            handler(parcel.sink)(outcome(parcel))
        except Exception as error:
            tried.failed += 1
            tried.reason = type(error).__name__
            _failed(runtime, parcel, f"{tried.reason}: {error}", tried.reason)
        else:
            tried.delivered += 1
            deliveries.delivered(runtime.database, parcel.record_id, parcel.generation)
    if parcels:
        log.info("delivered", outcomes=tried.delivered, failed=tried.failed)
    return tried


def outcome(parcel: Parcel) -> Outcome:
    """Make what a handler is told from what the store holds."""
    unsent = {"type": "canceled"} if parcel.state == RecordState.CANCELED else {}
    result = orjson.loads(parcel.line)["result"] if parcel.line else unsent
    return Outcome(
        job=parcel.job,
        custom_id=parcel.custom_id,
        status=parcel.state,
        result=result,
        error_type=None if parcel.state == RecordState.SUCCEEDED else parcel.error_type,
        error=parcel.error,
        attempts=parcel.sendings,
        cost=parcel.cost,
        metadata=orjson.loads(parcel.metadata) if parcel.metadata else None,
        delivery_id=f"{parcel.record_id}-{parcel.generation}",
    )


@lru_cache(maxsize=256)
def handler(sink: str) -> Callable[[Outcome], Any]:
    """Import what `on_result` names, "package.module:function"."""
    module, _, name = sink.partition(":")
    found: Callable[[Outcome], Any] = getattr(importlib.import_module(module), name)
    return found


def _failed(runtime: Runtime, parcel: Parcel, error: str, reason: str) -> None:
    if parcel.attempts + 1 >= runtime.settings.max_attempts:
        deliveries.failed(runtime.database, parcel.record_id, parcel.generation, error)
    else:
        delay = retry.backoff(parcel.attempts, runtime.limits, runtime.dice())
        deliveries.again(runtime.database, parcel.record_id, parcel.generation, delay, error)
    log.warning("delivery failed", record=parcel.record_id, attempts=parcel.attempts + 1, reason=reason)
