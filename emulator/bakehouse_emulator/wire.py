"""What goes over the wire besides success: the API's errors, and sockets cut on purpose."""

from __future__ import annotations

import socket
import struct
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT = "bakehouse.transport"  # ASGI extension: the asyncio transport below this call
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
EDGE_PAGE = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    "<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>cloudflare</center>\r\n"
    "</body>\r\n</html>\r\n"
)


class ApiError(Exception):
    """An answer that is not a success. Raised anywhere in a call, it becomes the API's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        html: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = kind or ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        self.code = code
        self.retry_after = retry_after  # whole real seconds; None sends no header
        self.html = html

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON error body; the request id is the same as in the header."""
        error: dict[str, Any] = {"type": self.type, "message": str(self)}
        if self.code:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": request_id}

    def response(self, request_id: str) -> Response:
        """The HTTP answer: JSON, or the page of an edge proxy that never reached the API."""
        if self.html:
            return Response(EDGE_PAGE, self.status, media_type="text/html")
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return json_response(self.body(request_id), self.status, headers)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def cut(scope: Scope, *, reset: bool) -> None:
    """End the connection below this call at once, in the middle of whatever it was saying.

    `reset` sends a TCP RST; otherwise what was written goes out, followed by an end without the chunked terminator.
    """
    transport = scope["extensions"][TRANSPORT]["transport"]
    if transport.is_closing():
        return
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def gone(receive: Receive) -> None:
    """Wait until the connection is over, so that the server below adds nothing to a cut answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Hangup(Response):
    """No answer at all: the caller's socket is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut the connection."""
        cut(scope, reset=True)
        await gone(receive)
