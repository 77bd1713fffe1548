"""The bench itself: a small run of it measures everybody, counts what was billed twice, and writes what bench/README.md shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("bench")]

HOUSE = Path(__file__).parents[2]
RECORDS = 60


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    home = tmp_path_factory.mktemp("bench")
    small = ["--sizes", str(RECORDS), "--repetitions", "1", "--scenarios", "clean,lost", "--micro-records", "40"]
    chosen = ["--contenders", "floor,sdk,sqlite", "--micro", "packing,lines,polling"]
    where = ["--home", str(home / "work"), "--results", str(home / "results")]
    told = subprocess.run(
        [sys.executable, "-m", "bench", *small, *chosen, *where], cwd=HOUSE, capture_output=True, text=True, timeout=200
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return home / "results"


def test_the_bench_sees_who_bills_a_lost_answer_twice_and_that_nobody_loses_a_record(found):
    rows = json.loads((found / "bench.json").read_text())["summary"]
    twice = {(row["scenario"], row["contender"]): row["billed_twice"] for row in rows}
    assert twice["lost", "sdk"] == RECORDS
    assert twice["lost", "bakehouse on SQLite"] == 0
    assert {count for (scenario, _), count in twice.items() if scenario == "clean"} == {0}
    assert {row["lost"] for row in rows} == {0}


def test_every_part_of_the_bench_yields_a_row_of_the_report_and_sizes_become_a_chart(found):
    measured = json.loads((found / "bench.json").read_text())["micro"]
    told = (found / "bench.md").read_text()
    assert len(measured) > 5
    assert all(f"| {what} | {figure} |" in told for what, figure, _ in measured)
    assert (found / "bench.svg").read_text().startswith("<svg")
