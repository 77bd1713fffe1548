"""Application code of a scenario: notes each outcome that is delivered to it."""

from __future__ import annotations

import os

from bakehouse import Outcome


def note(outcome: Outcome) -> None:
    with open(os.environ["CHAOS_DELIVERED"], "a", encoding="utf-8") as file:
        file.write(f"{outcome.job} {outcome.custom_id}\n")
