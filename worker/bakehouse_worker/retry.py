"""Decide what a result means. Pure: the same result, history and dice give the same decision.

The API says what happened to one request; this file says what that means for its record: done, once more (when, and whether it
cost an attempt), failed for good, or a trouble of the whole account that must not be blamed on the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bakehouse_worker.states import RecordState

#: Kinds of result that are ours: `missing` from a complete set of lines, `gone` with the batch, `refused` by a create.
MISSING, GONE, REFUSED = "missing", "gone", "refused"

#: Resending the same request cannot help (Anthropic, errors: "fix the request, then resend").
PERMANENT = frozenset({"invalid_request_error", "not_found_error", "request_too_large", "results_gone", "too_large"})
#: The account's trouble, not the record's.
ACCOUNT = frozenset({"authentication_error", "permission_error", "billing_error"})
#: The API reports these account troubles as `invalid_request_error`.
ACCOUNT_TEXTS = ("your credit balance is too low", "you have reached your specified")


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings a decision depends on; seconds where it is time."""

    max_attempts: int
    max_expired: int
    retry_base: float
    retry_cap: float


class Answer(NamedTuple):
    """What one sending of a record came to. `to_cancel`: the record is to be canceled, so it does not go again."""

    kind: str
    error_type: str | None = None
    message: str | None = None
    to_cancel: bool = False


class Decision(NamedTuple):
    """What becomes of the record. `delay` is seconds until it is due again; `circuit` is a reason to stop submitting."""

    state: RecordState
    failures: int
    expiries: int
    delay: float = 0.0
    circuit: str | None = None


def decide(answer: Answer, failures: int, expiries: int, limits: Limits, dice: float) -> Decision:
    """Return the one decision for an answer. `failures` and `expiries` are those before it; `dice` is uniform in [0, 1)."""
    decision = _decide(answer, failures, expiries, limits, dice)
    if answer.to_cancel and decision.state is RecordState.PENDING:
        return decision._replace(state=RecordState.CANCELED, delay=0.0)
    return decision


def _decide(answer: Answer, failures: int, expiries: int, limits: Limits, dice: float) -> Decision:
    if answer.kind == "succeeded":
        return Decision(RecordState.SUCCEEDED, failures, expiries)
    if answer.kind == "canceled":
        return Decision(RecordState.PENDING, failures, expiries)
    if answer.kind == "expired":
        state = RecordState.FAILED if expiries + 1 >= limits.max_expired else RecordState.PENDING
        return Decision(state, failures, expiries + 1)
    if answer.kind == GONE:
        return Decision(RecordState.FAILED, failures, expiries)
    if is_account_trouble(answer.error_type, answer.message):
        reason = f"{answer.error_type}: {answer.message}"
        return Decision(RecordState.PENDING, failures, expiries, circuit=reason)
    if answer.error_type in PERMANENT:
        return Decision(RecordState.FAILED, failures + 1, expiries)
    if failures + 1 >= limits.max_attempts:
        return Decision(RecordState.FAILED, failures + 1, expiries)
    return Decision(RecordState.PENDING, failures + 1, expiries, delay=backoff(failures, limits, dice))


def backoff(failures: int, limits: Limits, dice: float) -> float:
    """Return seconds, full jitter: uniform(0, min(cap, base * 2^failures)) with `failures` those before this one."""
    ceiling = limits.retry_cap if failures > 60 else min(limits.retry_cap, limits.retry_base * 2.0**failures)
    return dice * ceiling


def pause(tries: int, base: float, cap: float, dice: float) -> float:
    """Return seconds before work of our own (an upload, a collection) is tried again: half to all of min(cap, base * 2^tries)."""
    return backoff(tries, Limits(0, 0, base, cap), 0.5 + dice / 2)


def is_account_trouble(error_type: str | None, message: str | None) -> bool:
    """Tell whether an error says something about the account (credit, key, limits) rather than about the request."""
    if error_type in ACCOUNT:
        return True
    text = (message or "").strip().lower()
    return error_type == "invalid_request_error" and text.startswith(ACCOUNT_TEXTS)
