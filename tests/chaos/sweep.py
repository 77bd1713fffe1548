"""Many seeds, one after the other, and their table: `python -m chaos.sweep --seeds 200`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chaos import plan as plans
from chaos.scenario import Outcome, carry_out
from chaos.services import Services


def record(home: Path, services: Services) -> list[str]:
    """Let a cluster work without crashes and return the points that it passed."""
    outcome = carry_out(plans.recording(), home / "recording", services)
    show(outcome)
    return sorted(file.name for file in (home / "recording" / "board" / "passed").iterdir())


def run(seed: int, points: Sequence[str], home: Path, services: Services) -> Outcome:
    """Carry out one seed. Its directory stays if it went wrong."""
    folder = home / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    outcome = carry_out(plans.plan(seed, points), folder, services)
    show(outcome)
    if outcome.good:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def show(outcome: Outcome) -> None:
    verdict, plan = outcome.verdict, outcome.plan
    told = "good" if outcome.good else f"WRONG (done {outcome.done}, doctor {outcome.sound})"
    print(
        f"seed {plan.seed:>4} {plan.database:<10} {verdict.enqueued:>5} records, lost {verdict.lost}, "
        f"billed twice {verdict.billed_twice}, sent twice {verdict.sent_twice}, undelivered {verdict.undelivered}, "
        f"{sum(outcome.fired.values()):>3} faults, {outcome.seconds:.1f} s, recovery {outcome.recovery:.1f} s: {told}",
        flush=True,
    )


def note(outcome: Outcome, file: Path) -> None:
    """Append an outcome to the file from which the table is made."""
    line = {
        "seed": outcome.plan.seed,
        "without": outcome.plan.without,
        "database": outcome.plan.database,
        **asdict(outcome.verdict),
        "good": outcome.good,
        "recovery": round(outcome.recovery, 2),
        "seconds": round(outcome.seconds, 2),
        "fired": dict(outcome.fired),
    }
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="run seeds 1 to N")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--home", type=Path, default=Path(".chaos"), help="directories of runs, and the table")
    parser.add_argument("--replay", type=Path, help="carry out the plan.json of one run again")
    wanted = parser.parse_args()
    home = wanted.home.resolve()
    home.mkdir(exist_ok=True)
    with Services() as services:
        if wanted.replay:
            outcome = carry_out(plans.read(wanted.replay), home / f"replay-{time.time():.0f}", services)
            show(outcome)
            return int(not outcome.good)
        shutil.rmtree(home / "recording", ignore_errors=True)
        points = record(home, services)
        print(f"{len(points)} crash points", flush=True)
        wrong = 0
        for seed in range(wanted.first, wanted.first + wanted.seeds):
            outcome = run(seed, points, home, services)
            note(outcome, home / "outcomes.jsonl")
            wrong += not outcome.good
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
