"""Many seeds, one after the other, and their table: `python -m chaos.sweep --seeds 200`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from chaos import plan as plans
from chaos import table, without
from chaos.corners import corners
from chaos.plan import Plan
from chaos.scenario import Outcome, carry_out
from chaos.services import Services

#: Plans that aim at ends and freezes which fired fewer times than this are numbered from here.
LEAST, AIMED = 20, 10_000


def record(home: Path, services: Services) -> list[str]:
    """Let a cluster work without crashes and return the points that it passed."""
    outcome = carry_out(plans.recording(), home / "recording", services)
    show(outcome)
    return outcome.passed


def run(plan: Plan, home: Path, services: Services) -> Outcome:
    """Carry out one seed's plan. Its directory stays if it went wrong."""
    folder = home / f"seed-{plan.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    outcome = carry_out(plan, folder, services)
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


def safeguards(home: Path, services: Services) -> int:
    """Test each safeguard with and without it; 1 if one holds nothing, or does not hold."""
    rows = ["| safeguard | lost, sent twice, billed twice: with it | without it |", "|---|---|---|"]
    wrong = 0
    for safeguard in without.FAULTS:
        kept, taken = without.compare(safeguard, home, services)
        show(kept)
        show(taken)
        cells = [f"{v.lost}, {v.sent_twice}, {v.billed_twice}" for v in (kept.verdict, taken.verdict)]
        rows.append(f"| {safeguard.replace('_', ' ')} | {cells[0]} | {cells[1]} |")
        wrong += not kept.good or not (taken.verdict.lost or taken.verdict.sent_twice)
    (home / "safeguards.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    return int(wrong > 0)


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


def sweep(wanted: argparse.Namespace, home: Path, services: Services) -> None:
    """Carry out one seed after the other, each with the faults that fired least so far among its own."""
    shutil.rmtree(home / "recording", ignore_errors=True)
    known = home / "points.txt"
    points = list(dict.fromkeys([*record(home, services), *(known.read_text().split() if known.exists() else ())]))
    print(f"{len(points)} crash points", flush=True)
    fired = Counter(table.fired(table.read(home / "outcomes.jsonl")))
    until = time.monotonic() + 60 * wanted.minutes
    for number in range(wanted.seeds + wanted.aimed):
        seed = wanted.first + number
        aimed = plans.aimed(AIMED + seed, points, fired, LEAST) if number >= wanted.seeds else None
        if time.monotonic() > until or (number >= wanted.seeds and aimed is None):
            break
        outcome = run(aimed or plans.plan(seed, points, fired), home, services)
        fired.update(outcome.fired)
        points += sorted(set(outcome.passed) - set(points))  # not every run comes everywhere
        known.write_text("\n".join(points))
        note(outcome, home / "outcomes.jsonl")


def by_hand(wanted: argparse.Namespace, home: Path, services: Services) -> None:
    """Carry out the plans that were put together by hand: every `jobs`-th from the `first` on."""
    for plan in islice(corners(), wanted.first - 1, None, wanted.jobs):
        note(run(plan, home, services), home / "outcomes.jsonl")


def together(wanted: argparse.Namespace, home: Path) -> None:
    """Carry out several sweeps at a time, each with its share of the seeds: a scenario waits more than it works."""
    share = -(-wanted.seeds // wanted.jobs)
    running = []
    for first in range(wanted.first, wanted.first + wanted.seeds, share):
        part = home / f"part-{first}"
        seeds = min(share, wanted.first + wanted.seeds - first)
        words = ["--first", str(first), "--seeds", str(seeds), "--minutes", str(wanted.minutes), "--home", str(part)]
        words += ["--aimed", str(wanted.aimed)]
        part.mkdir(exist_ok=True)
        running.append(subprocess.Popen([sys.executable, "-m", "chaos.sweep", *words]))
    try:
        for each in running:
            each.wait()
    finally:
        for each in running:
            each.terminate()


def tell(home: Path) -> int:
    """Write the table of everything that was carried out below a directory; 1 if anything went wrong."""
    folders = [home, *sorted(home.glob("part-*"))]
    outcomes = [outcome for folder in folders for outcome in table.read(folder / "outcomes.jsonl")]
    lists = [(folder / "points.txt").read_text().split() for folder in folders if (folder / "points.txt").exists()]
    found = table.tables(outcomes, plans.names(sorted({point for points in lists for point in points})))
    (home / "table.md").write_text(found)
    print(found)
    return int(any(not outcome["good"] for outcome in outcomes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="run so many seeds")
    parser.add_argument("--aimed", type=int, default=0, help="then so many that aim at what fired fewer than 20 times")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further seed after so many minutes")
    parser.add_argument("--home", type=Path, default=Path(".chaos"), help="directories of runs, and the table")
    parser.add_argument("--safeguards", action="store_true", help="run each safeguard's test, with and without it")
    parser.add_argument("--corners", action="store_true", help="carry out the plans that were put together by hand")
    parser.add_argument("--replay", type=Path, help="carry out the plan.json of one run again")
    parser.add_argument("--tell", action="store_true", help="only write the table of what was carried out")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started ends with it
    home = wanted.home.resolve()
    home.mkdir(exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    if wanted.tell:
        return tell(home)
    if wanted.jobs > 1 and not (wanted.replay or wanted.safeguards or wanted.corners):
        together(wanted, home)
        return tell(home)
    with Services() as services:
        if wanted.replay:
            outcome = carry_out(plans.read(wanted.replay), home / f"replay-{time.time():.0f}", services)
            show(outcome)
            return int(not outcome.good)
        if wanted.safeguards:
            return safeguards(home, services)
        if wanted.corners:
            by_hand(wanted, home, services)
            return tell(home)
        sweep(wanted, home, services)
    return tell(home)


if __name__ == "__main__":
    sys.exit(main())
