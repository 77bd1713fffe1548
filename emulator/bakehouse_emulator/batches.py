"""The other batch endpoints: list, retrieve, cancel, delete, results."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from bakehouse_emulator.batch import Batch
from bakehouse_emulator.call import Call
from bakehouse_emulator.endpoint import query_number
from bakehouse_emulator.script import STREAM
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.stream import ResultStream
from bakehouse_emulator.wire import ApiError, json_response


async def retrieve(emulator: Emulator, call: Call, request: Request) -> Response:
    """One batch."""
    return _shown(emulator, call, _find(emulator, call, request.path_params["id"]))


async def list_batches(emulator: Emulator, call: Call, request: Request) -> Response:
    """A page of the workspace's batches, newest first."""
    limit = query_number(request, "limit", 20, 1, 1000)
    after, before = request.query_params.get("after_id"), request.query_params.get("before_id")
    if after and before:
        raise ApiError(400, "Only one of after_id and before_id may be given")
    now = emulator.clock.now()
    rule = emulator.script.pick("list", lambda each: each.fault in ("empty", "lagging"))
    visible_before = now if rule is None else now - rule.seconds if rule.fault == "lagging" else float("-inf")
    rows = emulator.store.page(
        call.workspace,
        older_than=_place(emulator, call, "after_id", after),
        newer_than=_place(emulator, call, "before_id", before),
        before=visible_before,
        limit=limit + 1,
    )
    more = len(rows) > limit
    rows = (rows[-limit:] if before else rows[:limit]) if more else rows
    page = {
        "data": [batch.view(now, emulator.options, call.origin) for batch in rows],
        "has_more": more,
        "first_id": rows[0].id if rows else None,
        "last_id": rows[-1].id if rows else None,
    }
    emulator.save()
    return json_response(page)


async def cancel(emulator: Emulator, call: Call, request: Request) -> Response:
    """Ask a batch to stop. Asked twice, it says the same again."""
    batch = _find(emulator, call, request.path_params["id"])
    if batch.ended and emulator.options.cancel_ended_is_error:
        raise ApiError(400, f"Batch {batch.id} cannot be canceled because it has already ended.")
    if not batch.ended and batch.cancel_initiated is None:
        batch = emulator.cancel(batch)
    return _shown(emulator, call, batch)


async def delete(emulator: Emulator, call: Call, request: Request) -> Response:
    """Delete an ended batch."""
    batch = _find(emulator, call, request.path_params["id"])
    if not batch.ended:
        message = f"Batch {batch.id} cannot be deleted while it is {batch.status}. Cancel it first."
        raise ApiError(emulator.options.delete_running_status, message)
    emulator.store.delete(batch)
    return json_response({"id": batch.id, "type": "message_batch_deleted"})


async def results(emulator: Emulator, call: Call, request: Request) -> Response:
    """The results of an ended batch, as lines."""
    batch, options = _find(emulator, call, request.path_params["id"]), emulator.options
    if not batch.ended:
        message = f"Batch {batch.id} has no results yet: it is {batch.status}."
        raise ApiError(options.results_before_end_status, message)
    if batch.archived(options) <= emulator.clock.now():
        raise ApiError(options.results_gone_status, f"The results of batch {batch.id} are no longer available.")
    rule = emulator.script.pick("results", lambda each: each.fault in STREAM)
    emulator.save()
    return ResultStream(emulator.lines(batch), rule)


def _find(emulator: Emulator, call: Call, batch_id: str) -> Batch:
    batch = emulator.store.batch(call.workspace, batch_id)
    if batch is None:
        raise ApiError(404, f"Message batch {batch_id} not found")
    return batch


def _place(emulator: Emulator, call: Call, name: str, batch_id: str | None) -> int | None:
    if batch_id is None:
        return None
    batch = emulator.store.batch(call.workspace, batch_id)
    if batch is None:
        raise ApiError(400, f"{name}: no batch {batch_id}")
    return batch.seq


def _shown(emulator: Emulator, call: Call, batch: Batch) -> Response:
    return json_response(batch.view(emulator.clock.now(), emulator.options, call.origin))
