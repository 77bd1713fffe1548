"""What was measured, as JSON for machines, as Markdown for bench/README.md, and as a chart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from bench.chart import chart

HEAD = (
    "contender",
    "wall s",
    "x floor",
    "CPU s",
    "largest MB",
    "all MB",
    "creates",
    "reads",
    "billed twice",
    "lost",
    "emulator CPU s",
    "",
)
TOLD = {
    "clean": "nothing goes wrong",
    "failing": "10 % of the rows fail for good",
    "lost": "the answer to one create is lost after it was accepted",
    "killed": "killed by -9 when half of the batches are accepted, then the same command again",
}
#: Medians over the repetitions; of these the largest counts.
WORST = ("billed_twice", "lost", "creates", "reads")


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each contender, scenario and size: medians, or the worst of what should not happen at all."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["scenario"], run["records"], run["contender"]), []).append(run)
    rows = []
    for (scenario, records, contender), same in groups.items():
        row: dict[str, Any] = {"scenario": scenario, "records": records, "contender": contender, "runs": len(same)}
        for key in ("wall", "cpu", "largest", "together", "emulator_cpu"):
            row[key] = median(run[key] for run in same)
        row |= {key: max(run[key] for run in same) for key in WORST}
        row["spread"] = (min(run["wall"] for run in same), max(run["wall"] for run in same))
        row["note"] = next((run["note"] for run in same if run["note"]), "")
        rows.append(row)
    for row in rows:
        of = next(
            (r for r in rows if (r["contender"], r["scenario"], r["records"]) == ("floor", "clean", row["records"])),
            None,
        )
        row["ratio"] = row["wall"] / of["wall"] if of else None
    return rows


def markdown(found: dict[str, Any]) -> str:
    parts = [_facts(found)]
    rows = found["summary"]
    for scenario, records in dict.fromkeys((row["scenario"], row["records"]) for row in rows):
        parts.append(f"### {records:,} records, {TOLD[scenario]}\n")
        mine = [row for row in rows if (row["scenario"], row["records"]) == (scenario, records)]
        parts.append(table(HEAD, (_cells(row) for row in mine)))
    if found["emulator"]:
        parts += ["### The emulator alone\n", table(("what", "per s", ""), found["emulator"])]
    if found["micro"]:
        parts += ["### Parts\n", table(("what", "figure", ""), found["micro"])]
    if found["left_out"]:
        parts.append("Left out: " + "; ".join(found["left_out"]) + ".\n")
    return "\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts(found: dict[str, Any]) -> str:
    lines = [f"* {name}: {value}" for name, value in found["machine"].items()]
    lines += [f"* {name}: {value}" for name, value in found["settings"].items()]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["spread"]
    ratio = f"{row['ratio']:.1f}" if row["ratio"] else ""
    wall = f"{row['wall']:.2f} ({low:.2f}-{high:.2f}, n={row['runs']})"
    sizes = [f"{row[key]:.0f}" if row[key] else "not seen" for key in ("largest", "together")]
    counts = [f"{row[key]:,}" for key in ("creates", "reads", "billed_twice", "lost")]
    return [
        row["contender"],
        wall,
        ratio,
        f"{row['cpu']:.1f}",
        *sizes,
        *counts,
        f"{row['emulator_cpu']:.1f}",
        row["note"].replace("|", "/"),
    ]


def write(found: dict[str, Any], folder: Path) -> list[Path]:
    """Write `bench.json`, `bench.md` and, where there are sizes to compare, `bench.svg`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / "bench.json", folder / "bench.md"]
    made[0].write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    made[1].write_text(markdown(found), encoding="utf-8")
    clean = [row for row in found["summary"] if row["scenario"] == "clean" and not row["note"]]
    if clean:
        made.append(folder / "bench.svg")
        made[2].write_text(chart(clean), encoding="utf-8")
    return made
