"""Application code of a scenario: notes each outcome that is delivered to it."""

from __future__ import annotations

import os
import time

from bakehouse import Outcome


def note(outcome: Outcome) -> None:
    time.sleep(float(os.environ["CHAOS_HANDLING"]))
    with open(os.environ["CHAOS_DELIVERED"], "a", encoding="utf-8") as file:
        file.write(f"{outcome.job} {outcome.custom_id}\n")
