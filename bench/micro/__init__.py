"""Parts measured one by one, each in a file of its own: a function that yields rows of (what, figure, remark)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median

#: name -> module; each has `measure(records, home)`, but `tick`, which is asked about stores of several sizes.
PARTS = ("enqueue", "packing", "lines", "fanout", "spans", "collecting", "polling", "tick")

Row = tuple[str, str, str]

#: How often what is compared is measured, by turns.
REPETITIONS = 3


def measure(names: list[str], records: int, stored: list[str], home: Path, database_url: Callable) -> list[Row]:
    """Measure some parts and return their rows; each is printed as it comes."""
    rows = []
    for name in names:
        part = import_module(f"bench.micro.{name}").measure
        found: Iterator[Row] = part(stored, home / name, database_url) if name == "tick" else part(records, home / name)
        for row in found:
            print(f"{name}:", *row, flush=True)
            rows.append(row)
    return rows


def rate(records: int, seconds: float) -> str:
    return f"{records / seconds:,.0f}/s"


def among(seconds: list[float]) -> str:
    """The median of some repetitions, each the seconds of one record, and their spread."""
    return f"{rate(1, median(seconds))} ({rate(1, max(seconds))} to {rate(1, min(seconds))})"
