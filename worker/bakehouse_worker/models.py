"""What is not to be sent leaves its batch: a model that cannot serve it, a job or model that is parked. Part of station 3, submit.

A batch says only hours later that a model is retired or unknown, record by record. One question before a model's first sending says
it at once: such a model is parked with the reason, its records wait as pending, and all others go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, holds, packing

#: Seconds after which a model that was found fit is looked up again: models retire.
FRESH = 86_400.0
#: What a person may do about a parked model.
REMEDY = (
    "`bakehouse resume --model` sends it all the same, `bakehouse dead requeue --model ... --set model=...` changes it"
)

log = logger("submit")


def give_back_unfit(runtime: Runtime, batch_id: int) -> int:
    """Take out of a packed batch the records of a job or model that is parked; returns how many wait for that now.

    Models that are new are looked up first.
    """
    names = batches.models(runtime.database, batch_id)
    for name in names:
        if not _is_known(runtime, name):
            _look_up(runtime, name)
    parked = holds.parked(runtime.database)
    of_models = [each.name for each in parked if each.what == holds.MODEL and each.name in names]
    of_jobs = [each.name for each in parked if each.what == holds.JOB]
    return packing.give_back(runtime.database, batch_id, of_models, of_jobs) if of_models or of_jobs else 0


def unfit(name: str, facts: Mapping[str, Any]) -> str | None:
    """Say why a model cannot serve batches, by what `GET /v1/models/{id}` tells of it; None if nothing speaks against it. Pure."""
    if facts.get("lifecycle") == "retired":
        when = str(facts.get("retires_at") or "")[:10]
        return f"{name} is retired" + (f" since {when}" if when else "")
    capabilities = facts.get("capabilities")
    batch = capabilities.get("batch") if isinstance(capabilities, dict) else None
    if isinstance(batch, dict) and batch.get("supported") is False:
        return f"{name} cannot be used in batches"
    return None


def released(runtime: Runtime, name: str) -> bool:
    """Let a parked model's records go, because a person says so; False if it was not parked."""
    _remember(runtime, name)
    return holds.unpark(runtime.database, holds.MODEL, name)


def _is_known(runtime: Runtime, name: str) -> bool:
    found = holds.get(runtime.database, _key(name))
    return found is not None and 0 <= runtime.database.now() - float(found) < FRESH


def _look_up(runtime: Runtime, name: str) -> None:
    """Ask the API about a model: park it, or remember that nothing speaks against it. What cannot be asked is not decided."""
    try:
        reason = unfit(name, runtime.gateway.model(name))
    except Refused as error:
        if error.status != 404 or not _lists_models(runtime):
            return
        reason = f"the API has no model {name}"
    except GatewayError as error:
        log.warning("model not looked up", model=name, reason=type(error).__name__)
        return
    if reason is None:
        _remember(runtime, name)
    elif holds.park(runtime.database, holds.MODEL, name, reason):
        log.error("model parked", model=name, reason=reason)


def _lists_models(runtime: Runtime) -> bool:
    """Tell whether the origin knows models at all: of a gateway that does not, a 404 says nothing about one."""
    try:
        return bool(runtime.gateway.models(limit=1))
    except GatewayError:
        return False


def _remember(runtime: Runtime, name: str) -> None:
    holds.put(runtime.database, _key(name), repr(runtime.database.now()))


def _key(name: str) -> str:
    return f"{holds.MODEL}:{name}"
