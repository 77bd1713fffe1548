"""`/_emulator/...`: what tests ask and tell the emulator. Needs no key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bakehouse_emulator import script
from bakehouse_emulator.clock import rfc3339
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.upload import digest_text
from bakehouse_emulator.wire import json_response

Action = Callable[[Emulator, Request, bytes], Any]


def routes(emulator: Emulator) -> list[Route]:
    """The control endpoints."""
    actions: list[tuple[str, str, Action]] = [
        ("GET", "script", lambda emulator, request, body: show_script(emulator)),
        ("POST", "script", add_rules),
        ("DELETE", "script", drop_rules),
        ("GET", "options", lambda emulator, request, body: asdict(emulator.options)),
        ("POST", "options", set_options),
        ("GET", "clock", lambda emulator, request, body: show_clock(emulator)),
        ("POST", "clock", step_clock),
        ("GET", "ledger", ledger),
        ("GET", "stats", stats),
    ]
    return [Route(f"/_emulator/{name}", _serve(emulator, action), methods=[method]) for method, name, action in actions]


def _serve(emulator: Emulator, action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        body = await request.body()
        try:
            return json_response(action(emulator, request, body))
        except (ValueError, TypeError, KeyError) as error:
            return json_response({"error": str(error)}, 400)

    return serve


def show_script(emulator: Emulator) -> dict[str, Any]:
    """The rules in force, each with the times it fired."""
    return {"rules": emulator.script.view()}


def add_rules(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """Add rules, or replace all, and set options."""
    rules, options, replace = script.read(body)
    emulator.set_options(options)
    emulator.script.add(rules, replace=replace)
    emulator.save()
    return show_script(emulator)


def drop_rules(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """Remove all rules; options stay."""
    emulator.script.add([], replace=True)
    emulator.save()
    return show_script(emulator)


def set_options(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """Set options; those already running keep what they were created with."""
    emulator.set_options(dict(orjson.loads(body)))
    return asdict(emulator.options)


def show_clock(emulator: Emulator) -> dict[str, Any]:
    """The emulated time, in Unix seconds and as the API writes it, and the speed."""
    now = emulator.clock.now()
    return {"now": now, "time": rfc3339(now), "speed": emulator.options.speed}


def step_clock(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """Jump forward by `advance` emulated seconds; batches whose end has come then are ended."""
    emulator.clock.advance(float(orjson.loads(body)["advance"]))
    emulator.settle()
    emulator.save()
    return show_clock(emulator)


def ledger(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """How often each input was accepted and billed; `?totals=1`: only the sums; `?prompt=`: only inputs with that text.

    The sums are over all inputs, also when only some are shown.
    """
    emulator.settle()
    totals = emulator.ledger.totals()
    if request.query_params.get("totals"):
        return {"totals": totals}
    prompt = request.query_params.get("prompt")
    wanted = _containing(emulator, prompt) if prompt else None
    rows = (row for row in emulator.ledger.inputs() if wanted is None or row[0] in wanted)
    return {"totals": totals, "inputs": {digest_text(key): {"accepted": a, "billed": b} for key, a, b in rows}}


def _containing(emulator: Emulator, prompt: str) -> set[int]:
    needle, found = orjson.dumps(prompt)[1:-1], set()
    for batch in emulator.store.everything():
        members, _ = emulator.store.members(batch)
        for position, digest in enumerate(members.digests):
            if needle in emulator.items.line(members, position):
                found.add(digest)
    return found


def stats(emulator: Emulator, request: Request, body: bytes) -> dict[str, Any]:
    """Calls since the start by endpoint, and all batches, oldest first, deleted ones too."""
    emulator.settle()
    now, batches = emulator.clock.now(), emulator.store.everything()
    rows = [
        {
            **batch.view(now, emulator.options, ""),
            "workspace": batch.workspace,
            "count": batch.count,
            "deleted": batch.deleted,
        }
        for batch in batches
    ]
    return {"calls": dict(emulator.calls), "batches": rows}
