"""Decide what a refused create means. Pure.

A refusal is definite: no batch exists. What is left to decide is whose fault it was: one record's, some record's, the moment's or
the account's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bakehouse_worker.errors import Refused
from bakehouse_worker.retry import is_account_trouble

#: Spend limits that no waiting of minutes ends (Anthropic: rate limits, spend limits).
SPEND_CODES = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
#: Codes that speak of the account whatever the status is.
ACCOUNT_CODES = SPEND_CODES | {
    "claude_code_key_creator_not_member",
    "cmek_key_disabled",
    "organization_on_hold",
}
#: Codes of a 400 after which nothing was done and the same body may go again, after seconds.
PASSING_CODES = {"request_body_timeout": 5.0}
#: Seconds to wait after a 429 or 409 that names no time.
DEFAULT_WAIT = 60.0
_REQUEST = re.compile(r"\brequests\.(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class Eject:
    """Request number `index` of the body is at fault; the others go again without it."""

    index: int


@dataclass(frozen=True, slots=True)
class Bisect:
    """Some request is at fault, or the body is too large: halve the batch, down to the record."""


@dataclass(frozen=True, slots=True)
class Wait:
    """All submissions of the workspace wait `seconds`; nobody's attempt is burned. `full`: the API's queue has no room."""

    seconds: float
    full: bool = False


@dataclass(frozen=True, slots=True)
class Circuit:
    """The account's trouble: submissions stop with this reason until a probe or a person lets them go on."""

    reason: str


Verdict = Eject | Bisect | Wait | Circuit


def decide(refused: Refused, requests: int) -> Verdict:
    """Return what to do about a create of `requests` requests that the API refused."""
    if refused.code in ACCOUNT_CODES:
        return Circuit(f"the API answered {refused.status} {refused.error_type} ({refused.code}): {refused.message}")
    if refused.code in PASSING_CODES:
        return Wait(PASSING_CODES[refused.code])
    if refused.status == 409 or (refused.status == 429 and refused.code not in SPEND_CODES):
        full = refused.status == 429 and "queue" in refused.message.lower()
        return Wait(DEFAULT_WAIT if refused.retry_after is None else refused.retry_after, full)
    if refused.status in (400, 413, 422) and not is_account_trouble(refused.error_type, refused.message):
        named = _REQUEST.search(refused.message)
        if named and int(named[1]) < requests:
            return Eject(int(named[1]))
        return Bisect()
    return Circuit(f"the API answered {refused.status} {refused.error_type}: {refused.message}")
