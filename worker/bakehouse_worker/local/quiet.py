"""When everything has come to its end: outbox and inbox are empty, every record has one, every handler was called or given up."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from bakehouse_worker import accept
from bakehouse_worker.runtime import Runtime, make
from bakehouse_worker.settings import load
from bakehouse_worker.states import RecordState
from bakehouse_worker.status.snapshot import take
from bakehouse_worker.status.telling import told
from bakehouse_worker.store import due, reading

#: Seconds between two looks.
LOOK = 0.05


def drain(environ: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Wait until all is quiet, for at most so many seconds: {"idle", "failed" (deliveries given up), "told" (what `status` says)}."""
    os.environ.clear()
    os.environ.update(environ)
    runtime, deadline = make(load()), time.monotonic() + seconds
    while not (idle := _idle(runtime)) and time.monotonic() < deadline:
        time.sleep(LOOK)
    failed = reading.deliveries(runtime.database).get("failed", 0)
    return {"idle": idle, "failed": failed, "told": [] if idle else told(take(runtime), 100)}


def _idle(runtime: Runtime) -> bool:
    """Look in the order in which a record goes, so that none slips by between two looks."""
    if _in_outbox(runtime) or accept.waiting(runtime):
        return False
    under_way = (RecordState.PENDING, RecordState.PACKED)
    if any(job.states.get(state) for job in reading.jobs(runtime.database) for state in under_way):
        return False
    return due.idle(runtime.database)


def _in_outbox(runtime: Runtime) -> bool:
    """Tell whether rows wait there, or may: what is wrong with one that does not answer, `status` tells."""
    try:
        return runtime.outbox is not None and runtime.outbox.waits()
    except Exception:
        return True
