"""The web application: routes, error bodies, and the headers of every answer."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bakehouse_emulator import batches, control, other
from bakehouse_emulator.call import Call
from bakehouse_emulator.create import create
from bakehouse_emulator.endpoint import Handler, endpoint
from bakehouse_emulator.meter import Meter
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.wire import ApiError, cut, gone

BATCHES = "/v1/messages/batches"
ENDPOINTS: tuple[tuple[str, str, str, Handler], ...] = (
    ("POST", BATCHES, "create", create),
    ("GET", BATCHES, "list", batches.list_batches),
    ("GET", BATCHES + "/{id}", "retrieve", batches.retrieve),
    ("DELETE", BATCHES + "/{id}", "delete", batches.delete),
    ("POST", BATCHES + "/{id}/cancel", "cancel", batches.cancel),
    ("GET", BATCHES + "/{id}/results", "results", batches.results),
    ("POST", "/v1/messages", "message", other.create_message),
    ("POST", "/v1/messages/count_tokens", "count_tokens", other.count_tokens),
    ("GET", "/v1/models", "models", other.list_models),
    ("GET", "/v1/models/{id}", "models", other.retrieve_model),
)


class Front:
    """The outermost layer: gives each call its identity, and each answer its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = scope["bakehouse.call"] = Call()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in call.headers().items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server ends while this call still waits
            cut(scope, reset=True)
            await gone(receive)


def application(emulator: Emulator) -> ASGIApp:
    """The ASGI application of an emulator."""
    meter = Meter()
    api = [
        Route(path, endpoint(emulator, meter, name, handler), methods=[method])
        for method, path, name, handler in ENDPOINTS
    ]
    handlers = {ApiError: _refused, HTTPException: _refused, ClientDisconnect: _left}
    return Front(Starlette(routes=api + control.routes(emulator), exception_handlers=handlers))


async def _refused(request: Request, error: Exception) -> Response:
    call: Call = request.scope["bakehouse.call"]
    if isinstance(error, HTTPException):  # no such path, or not with this method
        error = ApiError(error.status_code, error.detail)
    if not isinstance(error, ApiError):
        raise error
    call.bare = error.html
    return error.response(call.id)


async def _left(request: Request, error: Exception) -> Response:
    """The caller went away in the middle of the body; nobody reads this answer."""
    return Response(status_code=499)
