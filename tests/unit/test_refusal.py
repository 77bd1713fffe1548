"""`refusal.decide()`: what an answer to a create means, case by case; and no answer without a verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.errors import Refused
from bakehouse_worker.refusal import DEFAULT_WAIT, Bisect, Circuit, Eject, Wait, decide

INVALID = "invalid_request_error"
refusals = st.builds(
    Refused,
    st.integers(300, 499),
    st.sampled_from([INVALID, "rate_limit_error", "billing_error", "api_error"]) | st.text(max_size=20),
    st.text(max_size=60) | st.integers(0, 10**9).map(lambda number: f"requests.{number}.params: bad"),
    retry_after=st.none() | st.floats(0, 1e6),
    code=st.none() | st.sampled_from(["enforced_spend_limit_reached", "ramp_limit_exceeded"]) | st.text(max_size=20),
)


@given(refusals, st.integers(0, 100_000))
def test_every_refusal_has_exactly_one_verdict(refused, requests):
    verdict = decide(refused, requests)
    assert isinstance(verdict, Eject | Bisect | Wait | Circuit)
    assert verdict == decide(refused, requests)
    if isinstance(verdict, Eject):
        assert 0 <= verdict.index < requests
    if isinstance(verdict, Wait):
        assert verdict.seconds >= 0
    if isinstance(verdict, Circuit):
        assert str(refused.status) in verdict.reason
        assert refused.error_type in verdict.reason


# 400 naming requests.N: that record alone


@pytest.mark.parametrize(
    ("message", "index"),
    [
        ("requests.0.custom_id: String should have at most 64 characters", 0),
        ("requests.17.params.max_tokens: must be at least 1", 17),
        ("bad input at requests.99", 99),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_400_that_names_a_request_ejects_that_one(status, message, index):
    assert decide(Refused(status, INVALID, message), 100) == Eject(index)


@pytest.mark.parametrize("message", ["requests.100: bad", "requests.-1: bad", "requests.x: bad", "myrequests.3: bad"])
def test_a_400_that_names_no_request_of_this_batch_halves_it(message):
    assert decide(Refused(400, INVALID, message), 100) == Bisect()


# 400 otherwise, 413: halves


@pytest.mark.parametrize(
    ("status", "error_type", "message"),
    [
        (400, INVALID, "the body is not valid JSON"),
        (400, "api_error", "HTTP 400 without a readable error"),
        (413, "request_too_large", "Request exceeds the maximum size"),
        (413, "request_too_large", "HTTP 413 without a readable error"),
    ],
)
def test_a_400_otherwise_and_a_413_halve_the_batch(status, error_type, message):
    assert decide(Refused(status, error_type, message), 100) == Bisect()


# 429 with a time, or a full queue: wait


@pytest.mark.parametrize("seconds", [0.0, 0.5, 17.0, 86_400.0])
@pytest.mark.parametrize(("status", "code"), [(429, None), (429, "ramp_limit_exceeded"), (409, None)])
def test_a_429_or_409_waits_for_as_long_as_the_api_says(seconds, status, code):
    assert decide(Refused(status, "rate_limit_error", "slow down", retry_after=seconds, code=code), 5) == Wait(seconds)


@pytest.mark.parametrize("status", [409, 429])
def test_a_429_or_409_without_a_time_waits_for_a_while(status):
    assert decide(Refused(status, "rate_limit_error", "slow down"), 5) == Wait(DEFAULT_WAIT)
    assert DEFAULT_WAIT > 0


def test_a_429_that_speaks_of_the_queue_says_that_it_is_full():
    told = "Your organization may have at most 200000 batch requests in the processing queue."
    assert decide(Refused(429, "rate_limit_error", told, retry_after=9.0), 5) == Wait(9.0, full=True)


# 401, 402, 403, 429 with a spend code, usage limits: the circuit


@pytest.mark.parametrize(
    ("status", "error_type", "message", "code"),
    [
        (401, "authentication_error", "invalid x-api-key", None),
        (402, "billing_error", "payment required", None),
        (403, "permission_error", "your key may not use batches", None),
        (404, "not_found_error", "no such path", None),
        (307, "api_error", "the API's origin answers with a redirect; check ANTHROPIC_BASE_URL", None),
        (429, "rate_limit_error", "spend limit", "enforced_spend_limit_reached"),
        (429, "rate_limit_error", "contract", "contract_spend_limit_reached"),
        (400, INVALID, "You have reached your specified API usage limits. You will regain access on ...", None),
        (400, INVALID, "You have reached your specified workspace API usage limits.", None),
        (400, INVALID, "Your credit balance is too low to access the Anthropic API.", None),
        (400, "billing_error", "requests.0: whatever it names", None),
    ],
)
def test_the_accounts_trouble_opens_the_circuit_with_the_apis_own_words(status, error_type, message, code):
    verdict = decide(Refused(status, error_type, message, code=code), 100)
    assert isinstance(verdict, Circuit)
    assert message in verdict.reason
    assert str(status) in verdict.reason


@given(st.floats(0, 1e6))
def test_a_spend_limit_opens_the_circuit_even_if_it_names_a_time(seconds):
    refused = Refused(429, "rate_limit_error", "", retry_after=seconds, code="enforced_spend_limit_reached")
    assert isinstance(decide(refused, 5), Circuit)


@given(st.sampled_from([401, 402, 403, 404]), st.integers(0, 99))
def test_the_accounts_trouble_is_never_blamed_on_a_record_that_its_text_names(status, index):
    assert isinstance(decide(Refused(status, "api_error", f"requests.{index}: no"), 100), Circuit)


@pytest.mark.parametrize("code", ["organization_on_hold", "cmek_key_disabled", "claude_code_key_creator_not_member"])
def test_a_400_that_speaks_of_the_account_by_its_code_pauses_and_blames_no_record(code):
    assert isinstance(decide(Refused(400, INVALID, "no", code=code), 10_000), Circuit)


def test_an_upload_that_was_too_slow_is_sent_again_and_blames_no_record():
    assert isinstance(decide(Refused(400, INVALID, "too slow", code="request_body_timeout"), 10_000), Wait)


def test_a_records_own_error_that_quotes_the_words_usage_limits_is_not_the_accounts():
    assert decide(Refused(400, INVALID, "requests.3.params.tools.0.name: 'usage limits' is no name"), 10) == Eject(3)
