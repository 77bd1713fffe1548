"""Handlers that do what any handler does first: read the answer."""

from __future__ import annotations

from bakehouse import Outcome, handler


def take(outcome: Outcome) -> None:
    assert outcome.text


@handler(spans=True)
def take_many(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert outcome.text
