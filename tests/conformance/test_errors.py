"""Every refusal reaches the caller as the SDK's exception for it."""

import anthropic
import pytest

UNKNOWN = "msgbatch_01AAAAAAAAAAAAAAAAAAAAAA"
STATUSES = [
    ("bad_request", anthropic.BadRequestError),
    ("unauthorized", anthropic.AuthenticationError),
    ("billing", "PaymentRequiredError"),
    ("forbidden", anthropic.PermissionDeniedError),
    ("not_found", anthropic.NotFoundError),
    ("timeout", "RequestTimeoutError"),
    ("conflict", anthropic.ConflictError),
    ("too_large", "ContentTooLargeError"),
    ("edge_too_large", "ContentTooLargeError"),
    ("rate_limit", anthropic.RateLimitError),
    ("spend_limit", anthropic.RateLimitError),
    ("usage_limit", anthropic.BadRequestError),
    ("server_error", anthropic.InternalServerError),
    ("gateway_timeout", "GatewayTimeoutError"),
    ("overloaded", "OverloadedError"),
]


def test_a_wrong_key_is_an_authentication_error(subject):
    with subject.client("bad-key") as stranger, pytest.raises(anthropic.AuthenticationError) as caught:
        stranger.messages.batches.list(limit=1)
    assert caught.value.body["error"]["type"] == "authentication_error"
    assert caught.value.response.headers.get("anthropic-workspace-id") is None


def test_an_unknown_batch_is_not_found(batches):
    with pytest.raises(anthropic.NotFoundError) as caught:
        batches.retrieve(UNKNOWN)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_an_error_carries_its_request_id_in_header_and_body(batches):
    with pytest.raises(anthropic.NotFoundError) as caught:
        batches.retrieve(UNKNOWN)
    assert caught.value.request_id.startswith("req_")
    assert caught.value.body["request_id"] == caught.value.request_id


def test_an_empty_batch_is_refused(batches):
    with pytest.raises(anthropic.BadRequestError, match="requests"):
        batches.create(requests=[])


def test_a_custom_id_of_65_characters_is_refused_by_name(subject, batches):
    requests = subject.requests("Say yes.")
    requests[0]["custom_id"] = "x" * 65
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.0\.custom_id: .*at most 64 characters"):
        batches.create(requests=requests)


def test_a_custom_id_used_twice_is_refused(subject, batches):
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        batches.create(requests=subject.requests("Say yes.") * 2)


def test_a_running_batch_cannot_be_deleted(subject, batches):
    batch = batches.create(requests=subject.requests("Say yes."))
    with pytest.raises(anthropic.BadRequestError):
        batches.delete(batch.id)
    batches.cancel(batch.id)


def test_answers_name_organization_and_workspace(batches):
    headers = batches.with_raw_response.list(limit=1).headers
    assert headers["request-id"].startswith("req_")
    assert headers["anthropic-organization-id"]
    assert headers["anthropic-workspace-id"]


@pytest.mark.parametrize(("fault", "wanted"), STATUSES)
def test_each_status_is_raised_as_its_own_class(faults, subject, batches, fault, wanted):
    faults.rules({"on": "create", "fault": fault, "times": 1})
    with pytest.raises(getattr(anthropic, wanted) if isinstance(wanted, str) else wanted):
        batches.create(requests=subject.requests("Say yes."))


def test_a_spend_limit_has_a_code_and_no_retry_after(faults, batches):
    faults.rules({"on": "list", "fault": "spend_limit", "times": 1})
    with pytest.raises(anthropic.RateLimitError) as caught:
        batches.list()
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_a_rate_limit_says_when_to_come_back(faults, batches):
    faults.rules({"on": "list", "fault": "rate_limit", "times": 1, "retry_after": 7})
    with pytest.raises(anthropic.RateLimitError) as caught:
        batches.list()
    assert caught.value.response.headers["retry-after"] == "7"


def test_an_edge_page_is_no_json_and_has_no_request_id(faults, subject, batches):
    faults.rules({"on": "create", "fault": "edge_too_large", "times": 1})
    with pytest.raises(anthropic.APIStatusError) as caught:
        batches.create(requests=subject.requests("Say yes."))
    assert caught.value.status_code == 413
    assert caught.value.request_id is None
    assert "<html>" in caught.value.response.text


def test_a_lost_connection_is_a_connection_error(faults, subject, batches):
    faults.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    with pytest.raises(anthropic.APIConnectionError):
        batches.create(requests=subject.requests("Say yes."))
