"""The application's outbox: whether it answers, and whether its rows move on."""

from __future__ import annotations

from bakehouse import BakehouseError
from bakehouse_worker import relay
from bakehouse_worker.doctor.finding import Finding
from bakehouse_worker.local.progress import age
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.status.lines import since
from bakehouse_worker.store.outbox import COUNTED, Backlog, reason

#: Seconds that a committed row may stand in the outbox: so many, and so many times TICK.
STALE, STALE_TICKS = 60.0, 20.0


def examine(runtime: Runtime) -> list[Finding]:
    """Look into the outbox, if there is one; changes nothing and waits only so long."""
    return [_outbox(runtime)] if runtime.settings.outbox_url else []


def _outbox(runtime: Runtime) -> Finding:
    try:
        outbox = runtime.outbox
        backlog = Backlog(0, 0.0) if outbox is None else runtime.patience.within(relay.LIMIT, outbox.backlog)
    except BakehouseError as error:
        return Finding("outbox", False, str(error))
    except Exception as error:  # whatever a driver raises
        noted = relay.away(runtime)
        told = f" {since(noted.since, runtime.database.now())}" if noted else ""
        return Finding("outbox", False, f"the outbox at {relay.shown(runtime)} {reason(error)}{told}")
    if not backlog.rows:
        return Finding("outbox", True, f"{relay.shown(runtime)} is empty: all that was committed was moved on")
    many = "or more " if backlog.rows == COUNTED else ""
    rows = "1 row waits" if backlog.rows == 1 else f"{backlog.rows:,} {many}rows wait"
    told = f"{rows} in {relay.shown(runtime)}, the oldest for {age(backlog.age)}"
    if backlog.age <= max(STALE, STALE_TICKS * runtime.settings.tick):
        return Finding("outbox", True, told)
    return Finding(
        "outbox", False, f"{told}: do control workers and beat run, with BAKEHOUSE_OUTBOX_URL? Is the inbox full?"
    )
