"""Outcomes as the tables of docs/reliability.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SUMS = ("enqueued", "lost", "billed_twice", "sent_twice")
HEAD = (
    "| {} | fired | runs | records | lost | billed twice | sent twice | slowest recovery |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def read(file: Path) -> list[dict[str, Any]]:
    """Outcomes, one a line; of a seed that ran more than once, the last."""
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return list({(line["seed"], line["without"]): line for line in lines}.values())


def fired(outcomes: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often everything fired."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome["fired"])
    return total


def tables(outcomes: Sequence[Mapping[str, Any]], known: Collection[str] = ()) -> str:
    """The sum of all runs, the faults, and the points at which processes ended or froze; and what of the known never fired."""
    names = sorted({name for outcome in outcomes for name in outcome["fired"]})
    points = [name for name in names if name.startswith(("exit at ", "freeze at "))]
    others = [name for name in names if name not in points]
    parts = [_summary(outcomes), _table("fault", others, outcomes), _table("point", points, outcomes)]
    if unfired := sorted(set(known) - set(names)):
        parts.append(f"Never fired in these runs: {'; '.join(unfired)}.")
    return "\n\n".join(parts) + "\n"


def _summary(outcomes: Sequence[Mapping[str, Any]]) -> str:
    sums = {name: sum(outcome[name] for outcome in outcomes) for name in (*SUMS, "undelivered")}
    fired = sum(sum(outcome["fired"].values()) for outcome in outcomes)
    wrong = [str(outcome["seed"]) for outcome in outcomes if not outcome["good"]]
    slowest = max(outcome["recovery"] for outcome in outcomes)
    return (
        f"{len(outcomes)} seeds, {sums['enqueued']:,} records, {fired:,} faults: lost {sums['lost']}, billed twice "
        f"{sums['billed_twice']}, sent twice {sums['sent_twice']}, undelivered {sums['undelivered']}; "
        f"slowest recovery {slowest:.1f} s; seeds that went wrong: {', '.join(wrong) or 'none'}"
    )


def _table(title: str, names: Iterable[str], outcomes: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([HEAD.format(title), *(_row(name, outcomes) for name in names)])


def _row(name: str, outcomes: Sequence[Mapping[str, Any]]) -> str:
    hit = [outcome for outcome in outcomes if name in outcome["fired"]]
    sums = [sum(outcome[key] for outcome in hit) for key in SUMS]
    slowest = max(outcome["recovery"] for outcome in hit)
    shown = name.replace("|", "\\|")
    times = sum(outcome["fired"][name] for outcome in hit)
    return " | ".join(
        [f"| {shown}", f"{times:,}", str(len(hit)), *(f"{each:,}" for each in sums), f"{slowest:.1f} s |"]
    )
