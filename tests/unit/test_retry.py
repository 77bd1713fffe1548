"""`retry.decide()`: exactly one decision for every answer, and nobody pays for another's fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker import retry
from bakehouse_worker.retry import Answer, Limits, backoff, decide
from bakehouse_worker.states import RecordState

LIMITS = Limits(max_attempts=5, max_expired=3, retry_base=30.0, retry_cap=3600.0)
#: Message texts of the API: of its documentation, and what users quote.
ACCOUNT_TEXTS = [
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade.",
    "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
    "You have reached your specified workspace API usage limits.",
]
PERMANENT_TYPES = ["invalid_request_error", "not_found_error", "request_too_large", "too_large"]
ACCOUNT_TYPES = ["authentication_error", "permission_error", "billing_error"]
PASSING_TYPES = ["api_error", "overloaded_error", "rate_limit_error", "timeout_error", "conflict_error"]
OURS = [retry.MISSING, retry.REFUSED]
KINDS = ["succeeded", "errored", "canceled", "expired", "unreadable", retry.GONE, *OURS]

kinds = st.sampled_from(KINDS) | st.text(max_size=12)
error_types = (
    st.none() | st.sampled_from([*PERMANENT_TYPES, *ACCOUNT_TYPES, *PASSING_TYPES, "results_gone"]) | st.text()
)
messages = st.none() | st.sampled_from(ACCOUNT_TEXTS) | st.text()
answers = st.builds(Answer, kinds, error_types, messages, st.just(False))
counts = st.integers(0, 200)
dice = st.floats(0.0, 1.0, exclude_max=True)
limits = st.builds(
    Limits,
    max_attempts=st.integers(1, 100),
    max_expired=st.integers(1, 100),
    retry_base=st.floats(0.001, 1e5),
    retry_cap=st.floats(0.001, 1e6),
)
invented = st.text(min_size=1).filter(lambda name: name not in retry.PERMANENT | retry.ACCOUNT)


# One decision for everything


@given(answers, counts, counts, limits, dice)
def test_every_answer_has_exactly_one_decision_that_makes_sense(answer, failures, expiries, given_limits, die):
    made = decide(answer, failures, expiries, given_limits, die)
    assert made.state in (RecordState.SUCCEEDED, RecordState.FAILED, RecordState.PENDING)
    assert (made.failures - failures, made.expiries - expiries) in {(0, 0), (1, 0), (0, 1)}
    assert (made.state == RecordState.SUCCEEDED) == (answer.kind == "succeeded")
    if made.state != RecordState.PENDING:
        assert (made.delay, made.circuit) == (0.0, None)
    if made.circuit is not None:
        assert (made.failures, made.expiries, made.delay) == (failures, expiries, 0.0)
    assert made == decide(answer, failures, expiries, given_limits, die)


@given(answers, counts, counts, limits, dice)
def test_a_record_that_is_to_be_canceled_never_goes_again_and_is_otherwise_decided_as_any(
    answer, failures, expiries, given_limits, die
):
    plain = decide(answer, failures, expiries, given_limits, die)
    made = decide(answer._replace(to_cancel=True), failures, expiries, given_limits, die)
    if plain.state == RecordState.PENDING:
        assert made == plain._replace(state=RecordState.CANCELED, delay=0.0)
    else:
        assert made == plain


@given(answers.filter(lambda answer: answer.kind not in ("succeeded", "canceled")), limits, dice)
def test_no_answer_sends_a_record_for_ever_unless_the_account_is_to_blame(answer, given_limits, die):
    failures = expiries = sent = 0
    while True:
        made = decide(answer, failures, expiries, given_limits, die)
        sent += 1
        if made.circuit is not None or made.state != RecordState.PENDING:
            break
        assert (made.failures, made.expiries) != (failures, expiries)
        failures, expiries = made.failures, made.expiries
    assert sent <= max(given_limits.max_attempts, given_limits.max_expired)


@given(error_types, messages, counts, counts, limits, dice)
def test_a_success_is_a_success_whatever_came_before(error_type, message, failures, expiries, given_limits, die):
    made = decide(Answer("succeeded", error_type, message), failures, expiries, given_limits, die)
    assert made == retry.Decision(RecordState.SUCCEEDED, failures, expiries)


@given(counts, counts, limits, dice)
def test_a_cancellation_costs_no_attempt_and_goes_again_at_once(failures, expiries, given_limits, die):
    made = decide(Answer("canceled"), failures, expiries, given_limits, die)
    assert made == retry.Decision(RecordState.PENDING, failures, expiries)


# Later, with backoff


@pytest.mark.parametrize("error_type", [*PASSING_TYPES, None, "brand_new_error", "", "INVALID_REQUEST_ERROR"])
@pytest.mark.parametrize("kind", ["errored", "unreadable", retry.MISSING])
def test_a_passing_or_unknown_error_goes_again_with_backoff_until_max_attempts(kind, error_type):
    failures = 0
    for attempt in range(1, LIMITS.max_attempts):
        made = decide(Answer(kind, error_type, "try again"), failures, 0, LIMITS, 0.5)
        assert made == retry.Decision(RecordState.PENDING, attempt, 0, delay=0.5 * 30.0 * 2 ** (attempt - 1))
        failures = made.failures
    assert decide(Answer(kind, error_type), failures, 0, LIMITS, 0.5) == retry.Decision(RecordState.FAILED, 5, 0)


@given(st.sampled_from(["errored", "missing", "refused", "unreadable"]), invented, messages, dice)
def test_a_type_that_nobody_knows_yet_is_tried_again(kind, error_type, message, die):
    made = decide(Answer(kind, error_type, message), 0, 0, LIMITS, die)
    assert (made.state, made.failures, made.circuit) == (RecordState.PENDING, 1, None)


def test_with_one_attempt_the_first_failure_is_the_end():
    only_one = Limits(1, 3, 30.0, 3600.0)
    assert decide(Answer("errored", "api_error"), 0, 0, only_one, 0.5).state == RecordState.FAILED


@given(st.integers(0, 10_000), limits, dice)
def test_backoff_lies_between_nothing_and_the_smaller_of_cap_and_doubled_base(failures, given_limits, die):
    ceiling = min(given_limits.retry_cap, given_limits.retry_base * 2.0 ** min(failures, 900))
    assert 0.0 <= backoff(failures, given_limits, die) <= ceiling


@given(st.integers(0, 100), limits, st.floats(0.0, 1.0))
def test_backoff_is_full_jitter_it_reaches_both_ends_and_everything_between(failures, given_limits, die):
    ceiling = min(given_limits.retry_cap, given_limits.retry_base * 2.0**failures)
    assert backoff(failures, given_limits, 0.0) == 0.0
    assert backoff(failures, given_limits, 1.0) == ceiling
    assert backoff(failures, given_limits, die) == pytest.approx(die * ceiling)


def test_the_ceiling_doubles_with_every_failure_up_to_the_cap():
    ceilings = [backoff(failures, LIMITS, 1.0) for failures in range(10)]
    assert ceilings == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


# At once: expired


@given(counts, dice)
def test_an_expiry_is_counted_apart_and_goes_again_at_once(failures, die):
    assert decide(Answer("expired"), failures, 0, LIMITS, die) == retry.Decision(RecordState.PENDING, failures, 1)
    assert decide(Answer("expired"), failures, 1, LIMITS, die) == retry.Decision(RecordState.PENDING, failures, 2)
    assert decide(Answer("expired"), failures, 2, LIMITS, die) == retry.Decision(RecordState.FAILED, failures, 3)


def test_expiries_burn_no_attempts_and_failures_no_expiries():
    failures = expiries = 0
    for kind in ("expired", "errored", "expired", "errored", "errored", "errored"):
        made = decide(Answer(kind, "api_error" if kind == "errored" else None), failures, expiries, LIMITS, 0.0)
        assert made.state == RecordState.PENDING
        failures, expiries = made.failures, made.expiries
    assert (failures, expiries) == (4, 2)


# Never: permanent


@pytest.mark.parametrize("error_type", PERMANENT_TYPES)
@pytest.mark.parametrize("kind", ["errored", *OURS])
def test_a_permanent_error_fails_at_once_however_many_attempts_are_left(kind, error_type):
    made = decide(Answer(kind, error_type, "max_tokens: too large"), 0, 0, Limits(100, 100, 30.0, 3600.0), 0.5)
    assert made == retry.Decision(RecordState.FAILED, 1, 0)


@given(error_types, messages, counts, counts, dice)
def test_results_that_are_gone_are_never_sent_again_by_themselves(error_type, message, failures, expiries, die):
    made = decide(Answer(retry.GONE, error_type, message), failures, expiries, LIMITS, die)
    assert made.state == RecordState.FAILED


# The account's trouble


@given(st.sampled_from(ACCOUNT_TEXTS), st.sampled_from(["errored", retry.REFUSED]), counts, counts, limits, dice)
def test_a_credit_or_usage_limit_text_never_burns_an_attempt_and_never_fails_a_record(
    message, kind, failures, expiries, given_limits, die
):
    for text in (message, message.upper(), message.lower()):
        made = decide(Answer(kind, "invalid_request_error", text), failures, expiries, given_limits, die)
        assert (made.state, made.failures, made.expiries) == (RecordState.PENDING, failures, expiries)
        assert text in made.circuit


@given(st.sampled_from(ACCOUNT_TYPES), messages, counts, counts, limits, dice)
def test_an_account_error_opens_the_circuit_and_never_burns_an_attempt(
    error_type, message, failures, expiries, given_limits, die
):
    made = decide(Answer("errored", error_type, message), failures, expiries, given_limits, die)
    assert (made.state, made.failures, made.expiries) == (RecordState.PENDING, failures, expiries)
    assert made.circuit.startswith(f"{error_type}: ")


@pytest.mark.parametrize("message", [None, "", "prompt is too long", "credit_card: Extra inputs are not permitted"])
def test_an_invalid_request_about_anything_else_is_the_records_own_fault(message):
    assert decide(Answer("errored", "invalid_request_error", message), 0, 0, LIMITS, 0.5).state == RecordState.FAILED
