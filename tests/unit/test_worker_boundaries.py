"""The one door to the SDK: every error it can raise has one meaning of ours, and none gets through unmapped."""

from __future__ import annotations

import json
import os

import anthropic
import httpx2
import pytest

from bakehouse import ConfigurationError
from bakehouse_worker import credentials, gateway
from bakehouse_worker.errors import GatewayError, Refused, SendingStopped, Unanswered
from bakehouse_worker.remote import Remote, remote_batch

REQUEST = httpx2.Request("POST", "https://api.anthropic.com/v1/messages/batches")
#: The statuses that the API documents, and the error class of each in the SDK.
STATUSES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    402: anthropic.PaymentRequiredError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    408: anthropic.RequestTimeoutError,
    409: anthropic.ConflictError,
    413: anthropic.ContentTooLargeError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
    504: anthropic.GatewayTimeoutError,
    529: anthropic.OverloadedError,
}


def below(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from below(subclass)


STATUS_CLASSES = sorted({anthropic.APIStatusError, *below(anthropic.APIStatusError)}, key=lambda cls: cls.__qualname__)
SDK_CLASSES = sorted({anthropic.AnthropicError, *below(anthropic.AnthropicError)}, key=lambda cls: cls.__qualname__)
HTTP_CLASSES = sorted(below(httpx2.HTTPError), key=lambda cls: cls.__qualname__)


def status_error(cls, status, body=None, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx2.Response(status, request=REQUEST, headers=headers, content=content)
    error = cls.__new__(cls)
    anthropic.APIStatusError.__init__(
        error, "said by the SDK", response=response, body=None if isinstance(body, bytes) else body
    )
    return error


def api_body(error_type="invalid_request_error", message="said by the API", **details):
    inner = {"type": error_type, "message": message, **({"details": details} if details else {})}
    return {"type": "error", "error": inner, "request_id": "req_1"}


def translated(error):
    with pytest.raises(Exception) as caught, gateway._translated():
        raise error
    return caught.value


# Answers with a status


def test_the_sdk_has_the_status_errors_that_the_facts_sheet_names():
    assert set(STATUSES.values()) <= set(STATUS_CLASSES)
    for status, cls in STATUSES.items():
        assert getattr(cls, "status_code", status) == status


@pytest.mark.parametrize("cls", STATUS_CLASSES, ids=lambda cls: cls.__qualname__)
def test_every_status_error_of_the_sdk_is_a_refusal_or_no_answer(cls):
    status = getattr(cls, "status_code", 500)
    mapped = translated(status_error(cls, status, api_body("some_error", "some message")))
    if status >= 500 or status in (408, 499):
        assert type(mapped) is Unanswered
    else:
        assert type(mapped) is Refused
        assert (mapped.status, mapped.error_type, mapped.message) == (status, "some_error", "some message")


def test_every_status_there_can_be_is_a_refusal_or_no_answer():
    for status in range(300, 600):
        mapped = translated(status_error(anthropic.APIStatusError, status, b"<html>no JSON at all</html>"))
        assert type(mapped) is (Unanswered if status >= 500 or status in (408, 499) else Refused)
        assert str(status) in str(mapped)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 429])
def test_a_refusal_carries_status_type_message_wait_and_code(status):
    body = api_body("rate_limit_error", "the batch queue is full", error_code="ramp_limit_exceeded")
    mapped = translated(status_error(STATUSES[status], status, body, **{"retry-after": "17.5"}))
    assert (mapped.status, mapped.error_type, mapped.message) == (status, "rate_limit_error", "the batch queue is full")
    assert (mapped.retry_after, mapped.code) == (17.5, "ramp_limit_exceeded")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("2.5", 2.5), ("-3", 0.0), ("86400", 86_400.0), ("soon", None), ("", None)],
)
def test_a_wait_is_seconds_or_none_but_never_negative(header, seconds):
    error = status_error(anthropic.RateLimitError, 429, api_body(), **{"retry-after": header})
    assert translated(error).retry_after == seconds


def test_without_the_headers_and_details_there_is_no_wait_and_no_code():
    mapped = translated(status_error(anthropic.RateLimitError, 429, api_body()))
    assert (mapped.retry_after, mapped.code) == (None, None)


@pytest.mark.parametrize(
    "body", [b"<html>413</html>", b"", [], "too large", {}, {"error": None}, {"error": "too large"}]
)
def test_a_413_without_readable_json_is_a_request_that_is_too_large(body):
    mapped = translated(status_error(anthropic.ContentTooLargeError, 413, body))
    assert (mapped.status, mapped.error_type) == (413, "request_too_large")
    assert "413" in mapped.message


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\xff",
        None,
        5,
        [1],
        {"error": []},
        {"error": {"type": None, "message": None, "details": "x"}},
        {"error": {}},
    ],
)
@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_body_of_any_other_shape_is_still_mapped(status, body):
    mapped = translated(status_error(STATUSES[status], status, body))
    assert isinstance(mapped, Refused | Unanswered)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_refusal_that_names_the_setting(status):
    mapped = translated(status_error(anthropic.APIStatusError, status, b""))
    assert type(mapped) is Refused
    assert "ANTHROPIC_BASE_URL" in mapped.message


# No answer


@pytest.mark.parametrize("cls", SDK_CLASSES, ids=lambda cls: cls.__qualname__)
def test_no_error_of_the_sdk_is_unmapped(cls):
    if issubclass(cls, anthropic.APIStatusError):
        error = status_error(cls, getattr(cls, "status_code", 500), api_body())
    else:
        error = cls.__new__(cls)
    assert isinstance(translated(error), GatewayError)


@pytest.mark.parametrize("cls", HTTP_CLASSES, ids=lambda cls: cls.__qualname__)
def test_no_error_of_the_http_library_is_unmapped(cls):
    assert type(translated(cls.__new__(cls))) is Unanswered


def test_a_lost_connection_is_no_answer_and_says_what_was_lost():
    error = anthropic.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ReadError("the peer went away")
    mapped = translated(error)
    assert type(mapped) is Unanswered
    assert "ReadError" in str(mapped)


def test_a_time_out_is_no_answer():
    mapped = translated(anthropic.APITimeoutError(request=REQUEST))
    assert type(mapped) is Unanswered
    assert str(mapped) == "no answer in time"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_body_that_stopped_itself_comes_through_as_that_however_deep_the_sdk_wraps_it(depth):
    stopped = SendingStopped("the lease was lost")
    inner: BaseException = stopped
    for _ in range(depth - 1):
        outer = httpx2.WriteError("wrapped")
        outer.__context__ = inner
        inner = outer
    error = anthropic.APIConnectionError(request=REQUEST)
    error.__cause__ = inner
    assert translated(error) is stopped


def test_an_error_that_is_nobodys_is_left_as_it_is():
    error = RuntimeError("a bug of ours")
    assert translated(error) is error


# Which origin


@pytest.fixture
def unset(nowhere, monkeypatch):
    for name in list(os.environ):
        if name.startswith("ANTHROPIC_"):
            monkeypatch.delenv(name)
    return nowhere


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://gateway.example", "https://gateway.example"),
        ("https://gateway.example/", "https://gateway.example"),
        ("https://gateway.example/v1", "https://gateway.example"),
        ("https://gateway.example/v1/", "https://gateway.example"),
        ("https://gateway.example/anthropic/v1", "https://gateway.example/anthropic"),
        ("http://127.0.0.1:8400", "http://127.0.0.1:8400"),
        ("", "https://api.anthropic.com"),
    ],
)
def test_the_origin_is_the_base_url_without_slash_and_v1(url, origin, unset, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    assert credentials.origin() == origin


def test_the_origin_may_stand_in_dot_env_and_is_the_apis_own_if_it_stands_nowhere(unset):
    assert credentials.origin() == "https://api.anthropic.com"
    (unset / ".env").write_text("ANTHROPIC_BASE_URL=http://127.0.0.1:8400/v1\n")
    assert credentials.origin() == "http://127.0.0.1:8400"


def test_an_origin_without_a_scheme_is_a_configuration_error_that_names_the_setting(unset, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "api.anthropic.com")
    with pytest.raises(ConfigurationError, match="ANTHROPIC_BASE_URL must start with"):
        credentials.find()


def test_without_a_key_the_gateway_says_which_setting_is_missing(unset):
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY is not set"):
        gateway.Gateway(1.0)


def test_key_and_token_are_in_no_repr_and_the_key_goes_before_the_token(unset, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret-token")
    assert credentials.find().token == "secret-token"
    assert "secret" not in repr(credentials.find())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-key")
    found = credentials.find()
    assert (found.key, found.token) == ("secret-key", None)
    assert "secret" not in repr(found)


# What the API says of a batch

BATCH = {
    "id": "msgbatch_01",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 3, "errored": 5, "canceled": 7, "expired": 11},
    "created_at": "2026-11-20T10:00:00.250000Z",
    "expires_at": "2026-11-21T10:00:00+00:00",
    "ended_at": None,
    "archived_at": None,
    "results_url": None,
}


def test_a_batch_is_read_with_all_its_requests_and_its_times_in_seconds():
    assert remote_batch(BATCH) == Remote(
        "msgbatch_01", "in_progress", 28, 1_795_168_800.25, 1_795_255_200.0, None, archived=False
    )
    ended = {**BATCH, "ended_at": "2026-11-20T11:00:00Z", "archived_at": "2026-12-19T10:00:00Z", "brand_new": 1}
    assert remote_batch(ended).ended_at == 1_795_172_400.0
    assert remote_batch(ended).archived


@pytest.mark.parametrize("name", ["id", "processing_status", "request_counts", "created_at"])
def test_an_object_that_lacks_what_makes_a_batch_is_none(name):
    with pytest.raises((KeyError, TypeError, ValueError)):
        remote_batch({key: value for key, value in BATCH.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"), [("created_at", "yesterday"), ("created_at", 5), ("request_counts", {"a": "1"})]
)
def test_an_object_with_a_field_of_another_shape_is_no_batch(name, value):
    with pytest.raises((KeyError, TypeError, ValueError)):
        remote_batch({**BATCH, name: value})
