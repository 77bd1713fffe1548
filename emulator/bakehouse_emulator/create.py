"""`POST /v1/messages/batches`: reads a body of any size as it comes, and takes it whole or not at all."""

from __future__ import annotations

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import Response

from bakehouse_emulator.call import Call
from bakehouse_emulator.endpoint import strike
from bakehouse_emulator.members import Members
from bakehouse_emulator.script import Rule
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.upload import Upload, too_large
from bakehouse_emulator.verdict import Terms
from bakehouse_emulator.wire import ApiError, Hangup, json_response


class Watch:
    """Notes, while the items pass, which is the first to contain each prompt that a rule looks for."""

    def __init__(self, rules: list[Rule]) -> None:
        self._needles = {each.prompt: orjson.dumps(each.prompt)[1:-1] for each in rules if each.prompt}
        self.found: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._needles)

    def see(self, position: int, params: bytes) -> None:
        """Look at one item's canonical params."""
        for prompt, needle in self._needles.items():
            if prompt not in self.found and needle in params:
                self.found[prompt] = position


async def create(emulator: Emulator, call: Call, request: Request) -> Response:
    """Store a batch and answer with it; or refuse it whole."""
    options, script = emulator.options, emulator.script
    if int(request.headers.get("content-length", 0)) > options.max_body_bytes:
        raise too_large(options)
    reading = script.pick("create", lambda each: each.fault == "slow_read" or each.at_bytes is not None)
    watch = Watch(script.active("create"))
    terms = Terms(call.version, call.betas, unknown_model_type=options.unknown_model_type)
    upload = Upload(emulator.items, options, terms, watch.see if watch else None)
    if await _read(request, upload, reading):
        return Hangup()
    members = upload.finish()
    _check_queue(emulator, call, members)
    rule = script.pick("create", lambda each: _matches(each, watch, members))
    if rule is None or _takes_effect(rule):
        batch = emulator.accept(members, workspace=call.workspace, version=call.version, betas=call.betas)
    emulator.save()
    if rule and (struck := await strike(rule, watch.found.get(rule.prompt or ""))):
        return struck
    return json_response(batch.view(emulator.clock.now(), options, call.origin))


async def _read(request: Request, upload: Upload, rule: Rule | None) -> bool:
    """Feed the body to the upload; True when a rule wants the connection lost on the way.

    A refusal is only said when the body was read to its end: a caller still sending would see a broken pipe instead.
    A caller who goes away early ends this with ClientDisconnect, and nothing was accepted.
    """
    refusal: ApiError | None = None
    async for data in request.stream():
        if rule and rule.fault == "slow_read":
            await asyncio.sleep(rule.seconds)
        if refusal is None:
            try:
                upload.feed(data)
            except ApiError as error:
                refusal = error
        if rule and rule.at_bytes is not None and upload.size >= rule.at_bytes:
            return True
    if refusal:
        raise refusal
    return rule is not None and rule.at_bytes is not None


def _matches(rule: Rule, watch: Watch, members: Members) -> bool:
    if rule.fault == "slow_read" or rule.at_bytes is not None or len(members) < rule.min_items:
        return False
    return rule.prompt is None or rule.prompt in watch.found


def _takes_effect(rule: Rule) -> bool:
    return rule.accepted or rule.fault in ("lost_after_acceptance", "slow_answer")


def _check_queue(emulator: Emulator, call: Call, members: Members) -> None:
    most = emulator.options.max_queued_requests
    if emulator.store.queued(call.workspace) + len(members) > most:
        message = f"Your organization may have at most {most} batch requests in the processing queue."
        raise ApiError(429, message, retry_after=emulator.options.retry_after)
