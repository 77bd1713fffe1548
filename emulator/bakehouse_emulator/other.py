"""The endpoints beside batches: one synchronous message, token counts, models."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from bakehouse_emulator.call import Call
from bakehouse_emulator.endpoint import query_number
from bakehouse_emulator.message import message
from bakehouse_emulator.models import BY_NAME, OFFERED
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.usage import prompt_tokens
from bakehouse_emulator.verdict import Terms, problem
from bakehouse_emulator.wire import ApiError, json_response


async def create_message(emulator: Emulator, call: Call, request: Request) -> Response:
    """One answer, at once. Streaming is not emulated."""
    params = await _params(request)
    _check(params, call)
    if params.get("stream"):
        raise ApiError(400, "stream: this emulator answers without streaming")
    return json_response(message(params, source=call.id, tier="standard", cache_hit=False))


async def count_tokens(emulator: Emulator, call: Call, request: Request) -> Response:
    """The tokens of a prompt, counted as the usage of its answer would count them."""
    params = await _params(request)
    _check({"max_tokens": 1, **params}, call)
    return json_response({"input_tokens": prompt_tokens(params)})


async def list_models(emulator: Emulator, call: Call, request: Request) -> Response:
    """A page of models, newest first; retired ones only when asked for by `lifecycle[]`."""
    wanted = request.query_params.getlist("lifecycle[]") or request.query_params.getlist("lifecycle")
    views = [model.view() for model in OFFERED]
    views = [view for view in views if view["lifecycle"] in (wanted or ("active", "deprecated"))]
    limit = query_number(request, "limit", 20, 1, 1000)
    ids = [view["id"] for view in views]
    low, high = 0, len(views)
    if after := request.query_params.get("after_id"):
        low = ids.index(after) + 1 if after in ids else high
    if before := request.query_params.get("before_id"):
        high = ids.index(before) if before in ids else 0
        low = max(0, high - limit)
    page = views[low:high][:limit]
    more = low > 0 if before else low + limit < high
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return json_response({"data": page, "has_more": more, "first_id": first, "last_id": last})


async def retrieve_model(emulator: Emulator, call: Call, request: Request) -> Response:
    """One model, by id or alias; retired ones too."""
    model = BY_NAME.get(request.path_params["id"])
    if model is None:
        raise ApiError(404, f"model: {request.path_params['id']}")
    return json_response(model.view())


def _check(params: dict[str, Any], call: Call) -> None:
    found = problem(params, Terms(call.version, batch=False, unknown_model_type="not_found_error"))
    if found:
        raise ApiError(404 if found.type == "not_found_error" else 400, found.message)


async def _params(request: Request) -> dict[str, Any]:
    try:
        params = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The request body is not valid JSON: {error}") from None
    if not isinstance(params, dict):
        raise ApiError(400, "Input should be a valid dictionary or object")
    return params
