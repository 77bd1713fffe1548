"""Station 6, between collect and deliver: the fan-out per custom_id. Each result is decided alone by `retry.decide()`."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse_worker import retry
from bakehouse_worker.log import logger
from bakehouse_worker.retry import Answer, Decision
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, holds, results
from bakehouse_worker.store.results import Settled, Unsettled

#: Results per transaction.
SPAN = 1_000

log = logger("settle")


def settle(runtime: Runtime, batch_id: int, record_ids: Sequence[int] | None = None) -> Settled:
    """Settle the given members of a batch, or all that have a result; returns how many and how many are to be delivered."""
    total = Settled(0, 0)
    while True:
        members = results.unsettled(runtime.database, batch_id, SPAN, record_ids)
        if not members:
            break
        decisions = [(member, _decide(runtime, member)) for member in members]
        settled = results.settle(runtime.database, batch_id, decisions)
        total = Settled(total.records + settled.records, total.delivering + settled.delivering)
        _open_circuit(runtime, decisions)
        if record_ids is not None or not settled.records or runtime.stopping():
            break
    if record_ids is None and batches.finish(runtime.database, batch_id):
        log.info("finished", batch=batch_id)
    return total


def _decide(runtime: Runtime, member: Unsettled) -> Decision:
    answer = Answer(member.kind, member.error_type, member.error)
    return retry.decide(answer, member.failures, member.expiries, runtime.limits, runtime.dice())


def _open_circuit(runtime: Runtime, decisions: Sequence[tuple[Unsettled, Decision]]) -> None:
    """Stop submissions when results speak of the account's trouble: the same would be said of every request sent now."""
    reason = next((decision.circuit for _, decision in decisions if decision.circuit), None)
    if reason and holds.current(runtime.database) is None:
        holds.hold(runtime.database, holds.CIRCUIT, reason, runtime.database.now() + runtime.settings.probe_interval)
        log.warning("circuit open", type=reason.split(":")[0])
