"""Input files: one `{"custom_id", "params"}` a line, each about 1 KB, no two alike. The same size always gives the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import orjson

MODEL = "claude-haiku-5-5"
#: Bytes of a line, its newline included.
LINE = 1_000
WORDS = (
    "bread",
    "oven",
    "flour",
    "salt",
    "rye",
    "yeast",
    "dough",
    "crust",
    "water",
    "heat",
    "rise",
    "knead",
    "proof",
    "bake",
)


def params(number: int) -> dict[str, object]:
    """Return the params of one record, padded so that its line has LINE bytes."""
    dice = random.Random(number)
    text = f"Record {number}. Say in one sentence what this is about: " + " ".join(dice.choices(WORDS, k=170))
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text[: LINE - 130]}]}


def line(number: int) -> bytes:
    """Return one line of an input file."""
    return orjson.dumps({"custom_id": f"record-{number:08d}", "params": params(number)}) + b"\n"


def lines(records: int) -> Iterator[bytes]:
    return (line(number) for number in range(records))


def write(folder: Path, records: int) -> Path:
    """Write the file for a size, unless it is there; returns its path."""
    path = folder / f"input-{records}.jsonl"
    if not path.exists():
        with path.with_suffix(".new").open("wb") as file:
            file.writelines(lines(records))
        path.with_suffix(".new").rename(path)
    return path
