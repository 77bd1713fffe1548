"""What every endpoint of the API has in common: who calls, how often, and which fault strikes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bakehouse_emulator.call import Call
from bakehouse_emulator.meter import Meter
from bakehouse_emulator.script import STREAM, Rule
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.wire import ApiError, Hangup

Handler = Callable[[Emulator, Call, Request], Awaitable[Response]]
OWN_RULES = ("empty", "lagging", *STREAM)  # faults that the handler itself carries out


def endpoint(emulator: Emulator, meter: Meter, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler of the API. Rules on `create` are the handler's own affair: they may depend on the body."""

    async def serve(request: Request) -> Response:
        call: Call = request.scope["bakehouse.call"]
        admit(emulator, meter, name, call, request)
        if name == "create":
            return await handler(emulator, call, request)
        rule = emulator.script.pick(name, _generic)
        emulator.save()
        if rule is None:
            return await handler(emulator, call, request)
        if rule.accepted or rule.fault == "slow_answer":
            answer = await handler(emulator, call, request)
            return await strike(rule) or answer
        return await strike(rule) or await handler(emulator, call, request)

    return serve


def admit(emulator: Emulator, meter: Meter, name: str, call: Call, request: Request) -> None:
    """Count the call, find out whose it is, and hold it against the rate limit."""
    emulator.calls[name] += 1
    options = emulator.options
    call.identify(request.headers, options)
    passes, call.limit, call.remaining, call.reset = meter.take(
        call.workspace, now=emulator.clock.now(), per_minute=options.requests_per_minute
    )
    if not passes:
        message = f"This request would exceed your limit of {options.requests_per_minute} requests per minute."
        raise ApiError(429, message, retry_after=options.retry_after)
    emulator.settle()


async def strike(rule: Rule, position: int | None = None) -> Response | None:
    """Carry out a fault that needs no knowledge of the endpoint. None means: waited, now go on."""
    if rule.fault == "slow_answer":
        await asyncio.sleep(rule.seconds)
        return None
    if rule.fault.startswith("lost"):
        return Hangup()
    raise rule.error(position)


def _generic(rule: Rule) -> bool:
    return rule.fault not in OWN_RULES


def query_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query, within bounds. Raises the API's 400."""
    value: Any = request.query_params.get(name, default)
    try:
        number = int(value)
    except ValueError:
        raise ApiError(400, f"{name}: Input should be a valid integer") from None
    if number < low:
        raise ApiError(400, f"{name}: Input should be greater than or equal to {low}")
    if number > high:
        raise ApiError(400, f"{name}: Input should be less than or equal to {high}")
    return number
