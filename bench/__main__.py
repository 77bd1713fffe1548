"""The bench: Bakehouse, the floor, the bare SDK and rivals side by side against our emulator, and its parts one by one.

`python -m bench --sizes 10000,100000 --repetitions 3`; results go to bench/results/. bench/README.md says what is measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from bench import alone, inputs, machine, report, rivals
from bench.contenders import FLOOR, OWN, SETTINGS, Contender, Postgres
from bench.micro import PARTS, measure
from bench.trial import RULES, run

RESULTS = Path(__file__).parent / "results"
#: What the floor does not even try to live through.
BEYOND_THE_FLOOR = ("lost", "killed")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--sizes", default="10000,100000", help="records, by commas (default: %(default)s; 1000000 takes a while)")
    add("--repetitions", type=int, default=3, help="of each, interleaved (default: %(default)s)")
    add("--scenarios", default=",".join(RULES), help="by commas; none: leave the runs out (default: %(default)s)")
    add("--scenario-size", type=int, help="records of every scenario but `clean` (default: the smallest size)")
    add("--contenders", default=",".join(OWN), help="by commas (default: %(default)s)")
    add("--rivals", nargs="?", const=",".join(rivals.KNOWN), default="", help="all, or those named by commas")
    add("--micro", nargs="?", const=",".join(PARTS), default=",".join(PARTS), help="parts by commas, or none")
    add("--micro-records", type=int, default=20_000, help="records of each part (default: %(default)s)")
    add("--stored", default="100000", help="finished records in the store whose tick is timed, by commas")
    add("--home", type=Path, help="where to work (default: a temporary directory)")
    add("--results", type=Path, default=RESULTS, help="where to write (default: bench/results)")
    return parser.parse_args()


def main() -> None:
    wanted = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started ends with it
    if wanted.home is None:
        with tempfile.TemporaryDirectory(prefix="bakehouse-bench-") as home:
            bench(wanted, Path(home))
    else:
        wanted.home.mkdir(parents=True, exist_ok=True)
        bench(wanted, wanted.home)


def bench(wanted: argparse.Namespace, home: Path) -> None:
    sizes, names = [int(size) for size in _words(wanted.sizes)], _words(wanted.contenders)
    found = {"machine": machine.describe(), "settings": {}, "runs": [], "summary": [], "emulator": [], "micro": []}
    contenders, found["left_out"] = [OWN[name] for name in names], []
    for rival, why in rivals.contenders(_words(wanted.rivals)):
        contenders += [rival] if rival else []
        found["left_out"] += [why] if why else []
    postgres = Postgres(home)
    try:
        if scenarios := _words(wanted.scenarios):
            size = sizes[-1]
            found["emulator"] = alone.measure(inputs.write(home, size), size, home / "emulator")
            for row in found["emulator"]:
                _say("emulator alone:", *row)
        for scenario in scenarios:
            for records in sizes if scenario == "clean" else [wanted.scenario_size or min(sizes)]:
                found["runs"] += side_by_side(contenders, scenario, records, wanted.repetitions, home, postgres)
        found["settings"] = settings(contenders, postgres)
        found["micro"] = measure(
            _words(wanted.micro), wanted.micro_records, _words(wanted.stored), home, postgres.named
        )
    finally:
        postgres.close()
    found["machine"]["load after"] = machine.load()
    found["summary"] = report.summary(found["runs"])
    _say("\n" + report.markdown(found))
    _say("written:", *report.write(found, wanted.results))


def side_by_side(contenders: list[Contender], scenario: str, records: int, repetitions: int, home: Path, postgres):
    """Run all, interleaved: each repetition has one run of everybody, so that none has the machine's better hour."""
    source, rows = inputs.write(home, records), []
    able = [contender for contender in contenders if contender is not FLOOR or scenario not in BEYOND_THE_FLOOR]
    for number in range(repetitions):
        for contender in able:
            row = run(contender, scenario, source, records, home / "run", postgres).row()
            row["load"] = machine.load()
            rows.append(row)
            told = f"{row['wall']:.2f} s, {row['largest']:.0f} / {row['together']:.0f} MB, twice {row['billed_twice']}"
            _say(f"{scenario} {records:,} #{number + 1} {contender.name}: {told}, lost {row['lost']} {row['note']}")
    return rows


def settings(contenders: list[Contender], postgres: Postgres) -> dict[str, str]:
    """What decides about durability, and what differs from the defaults."""
    told = {"of Bakehouse, by environment": ", ".join(f"{key}={value}" for key, value in SETTINGS.items())}
    told["durability"] = (
        "all defaults: embedded Valkey with appendonly yes, appendfsync always; SQLite with journal_mode=WAL, synchronous=FULL"
    )
    if any(contender.postgres for contender in contenders):
        told["PostgreSQL"] = ", ".join(f"{key} {value}" for key, value in postgres.settings().items())
    told["memory"] = "PSS of the command and all its descendants each 0.2 s; neither the emulator nor PostgreSQL"
    return told


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word and word != "none"]


def _say(*words: object) -> None:
    print(*words)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
