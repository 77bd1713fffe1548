"""The only door to the API, and the only import of `anthropic`.

The SDK brings authentication, headers and connection handling. Three of its habits are turned off here: it never retries (a
repeated create bills twice), never follows a `results_url` (the key would go to whatever host it names), and never parses a body
into models (requests go out and results come in as bytes).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import anthropic
import httpx2
import orjson
from anthropic._constants import RAW_RESPONSE_HEADER

from bakehouse_worker import credentials
from bakehouse_worker.credentials import Credentials
from bakehouse_worker.errors import Refused, SendingStopped, Truncated, Unanswered, WorkerStops
from bakehouse_worker.remote import Page, Remote, lines, remote_batch

BATCHES = "/v1/messages/batches"
MODELS = "/v1/models"
_READ_TIMEOUT = 60.0
_CONNECT_TIMEOUT = 10.0
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray]
#: TCP_USER_TIMEOUT on Linux, in milliseconds: unacknowledged bytes older than this end the connection.
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Gateway:
    """Speaks to one origin with one key. `answer_timeout` is how long to wait for the answer to a create, in seconds."""

    def __init__(self, answer_timeout: float) -> None:
        found = credentials.find()
        self.origin = found.origin
        reading = httpx2.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
        answering = httpx2.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT, read=answer_timeout)
        self._reader = _client(found, reading, [])
        self._creator = _client(found, answering, _fenced_socket())

    def newest(self) -> Page:
        """Return the newest batch of the workspace alone: the anchor for a submission, and proof of who we are."""
        return self.page(limit=1)

    def page(self, *, limit: int = 1000, after_id: str | None = None) -> Page:
        """Return one page of the workspace's batches, newest first; `after_id` gives the page of older ones behind it."""
        query: dict[str, object] = {"limit": limit}
        if after_id:
            query["after_id"] = after_id
        response = self._get(BATCHES, query)
        fields = _object(response.content)
        rows = fields.get("data")
        if not isinstance(rows, list):
            raise Unanswered("the list of batches is none; is this the Messages API?")
        return Page(
            tuple(_batch(row, "what the list holds") for row in rows),
            response.headers.get("anthropic-workspace-id", ""),
            bool(fields.get("has_more")),
        )

    def pages(self) -> Iterator[Page]:
        """Walk through the workspace's batches, newest first, a page at a time; stop asking by leaving the loop."""
        after: str | None = None
        while True:
            page = self.page(after_id=after)
            yield page
            if not page.has_more or not page.batches:
                return
            after = page.batches[-1].id

    def retrieve(self, remote_id: str) -> Remote:
        """Return one batch. Raises Refused with status 404 if the API does not have it."""
        return _batch(_object(self._get(f"{BATCHES}/{remote_id}", {}).content), f"what is said of {remote_id}")

    def model(self, name: str) -> dict[str, Any]:
        """Return what the API tells of a model (ModelInfo). Raises Refused with status 404 if it has none of that name."""
        return _object(self._get(f"{MODELS}/{quote(name, safe='')}", {}).content)

    def models(self, *, limit: int) -> list[Any]:
        """Return the first models that the API lists."""
        found = _object(self._get(MODELS, {"limit": limit}).content).get("data")
        return found if isinstance(found, list) else []

    def create(self, body: Iterator[bytes], length: int, betas: Sequence[str], api_version: str) -> Remote:
        """Create a batch from exactly `length` bytes. Raises Refused, Unanswered, or what the body itself raises."""
        headers = {
            "content-type": "application/json",
            "content-length": str(length),
            "anthropic-version": api_version,
        }
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        with _translated():
            response = self._creator.post(
                BATCHES,
                cast_to=httpx2.Response,
                content=body,
                options={"headers": headers, "timeout": self._creator.timeout},
            )
        return _batch(_object(response.content), "the answer to the create")

    def cancel(self, remote_id: str) -> Remote:
        """Ask the API to cancel a batch; requests that run already may still complete, and are billed."""
        with _translated():
            response = self._reader.post(
                f"{BATCHES}/{remote_id}/cancel", cast_to=httpx2.Response, options={"timeout": self._reader.timeout}
            )
        return _batch(_object(response.content), "the answer to the cancel")

    def delete(self, remote_id: str) -> None:
        """Delete a batch that has ended. Raises Refused with status 404 if the API does not have it."""
        with _translated():
            self._reader.delete(
                f"{BATCHES}/{remote_id}", cast_to=httpx2.Response, options={"timeout": self._reader.timeout}
            )

    @contextmanager
    def results(self, remote_id: str) -> Iterator[Iterator[bytes]]:
        """Open the stream of result lines, from our own origin whatever `results_url` says; yields an iterator of lines."""
        headers = {"Accept": "application/binary", RAW_RESPONSE_HEADER: "stream"}
        response = self._get(f"{BATCHES}/{remote_id}/results", {}, headers)
        try:
            yield lines(_bytes(response))
        finally:
            response.close()

    def close(self) -> None:
        """Close all connections."""
        self._reader.close()
        self._creator.close()

    def _get(self, path: str, query: Mapping[str, object], headers: Mapping[str, str] | None = None) -> httpx2.Response:
        with _translated():
            return self._reader.get(
                path,
                cast_to=httpx2.Response,
                options={"params": query, "headers": dict(headers or {}), "timeout": self._reader.timeout},
            )


def _bytes(response: httpx2.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(chunk_size=262_144)
    except httpx2.HTTPError as error:
        raise Truncated(f"the stream of results broke: {type(error).__name__}") from error


@contextmanager
def _translated() -> Iterator[None]:
    """Map every error of the SDK to one of ours: a definite no, or no answer."""
    try:
        yield
    except anthropic.APIStatusError as error:
        raise _refusal(error) from error
    except anthropic.APIConnectionError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, SendingStopped | WorkerStops):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise Unanswered(_reason(error)) from error
    except anthropic.AnthropicError as error:
        raise Unanswered(f"{type(error).__name__}") from error
    except httpx2.HTTPError as error:
        raise Unanswered(f"{type(error).__name__}") from error


def _refusal(error: anthropic.APIStatusError) -> Refused | Unanswered:
    status = error.status_code
    inner = _inner(error.body, "error")
    error_type = str(inner.get("type") or {413: "request_too_large"}.get(status, "api_error"))
    message = str(inner.get("message") or f"HTTP {status} without a readable error")
    if status < 400:
        message = "the API's origin answers with a redirect; check ANTHROPIC_BASE_URL"
    if status >= 500 or status in (408, 499):
        return Unanswered(f"HTTP {status} {error_type}")
    details = _inner(inner, "details")
    return Refused(
        status,
        error_type,
        message,
        retry_after=_seconds(error.response.headers.get("retry-after")),
        code=details.get("error_code"),
    )


def _inner(body: object, name: str) -> dict[str, Any]:
    """Return the object under a name, or an empty one: error bodies may be of any shape."""
    found = body.get(name) if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _reason(error: anthropic.APIConnectionError) -> str:
    if isinstance(error, anthropic.APITimeoutError):
        return "no answer in time"
    cause = error.__cause__
    return f"the connection failed ({type(cause).__name__})" if cause else "the connection failed"


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def _object(content: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Unanswered("the answer is not JSON; is this the Messages API?") from None
    if not isinstance(fields, dict):
        raise Unanswered("the answer is not a JSON object; is this the Messages API?")
    return fields


def _batch(fields: Any, what: str) -> Remote:
    try:
        return remote_batch(fields)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Unanswered(f"{what} is not a batch; is this the Messages API?") from None


def _fenced_socket() -> list[SocketOption]:
    """Return socket options that keep a dead sender's kernel from delivering what the sender no longer stands for."""
    options: list[SocketOption] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    ]
    if _USER_TIMEOUT is not None:
        options.append((socket.IPPROTO_TCP, _USER_TIMEOUT, 30_000))
    return options


def _client(found: Credentials, timeout: httpx2.Timeout, options: list[SocketOption]) -> anthropic.Anthropic:
    transport = httpx2.HTTPTransport(
        socket_options=options, limits=httpx2.Limits(max_connections=16, keepalive_expiry=5.0)
    )
    return anthropic.Anthropic(
        api_key=found.key,
        auth_token=found.token,
        base_url=found.origin,
        max_retries=0,
        timeout=timeout,
        http_client=anthropic.DefaultHttpxClient(
            base_url=found.origin, transport=transport, timeout=timeout, follow_redirects=False
        ),
    )
