"""`bakehouse demo`: a few thousand made-up reviews and tickets through everything, against the emulator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orjson
from rich.console import Console

from bakehouse import ConfigurationError
from bakehouse_worker.local import emulated, jobfile
from bakehouse_worker.local.crew import called
from bakehouse_worker.local.home import prepare_home
from bakehouse_worker.local.run import Options, run
from bakehouse_worker.settings import load

MARKER = "demo"
#: What goes wrong in the demo: one request in twenty is overloaded the first time it is run.
SCRIPT = {
    "rules": [
        {
            "on": "result",
            "share": 0.05,
            "first_times": 1,
            "fault": "errored",
            "type": "overloaded_error",
            "message": "Overloaded",
        }
    ]
}
#: One ticket in a hundred asks for more tokens than its model gives, and fails for good.
INVALID_SHARE = 0.01


def demo(data_dir: Path, records: int, console: Console) -> int:
    """Run the demo; returns 0 if it came out as it should, permanent failures included."""
    home = _fresh(data_dir)
    emulated.use(home)
    source = home / "demo.jsonl"
    half = records // 2
    source.write_bytes(_sample("reviews", records - half, 0.0) + _sample("tickets", half, INVALID_SHARE))
    script = home / "emulator-script.json"
    script.write_bytes(orjson.dumps(SCRIPT))
    console.print(f"{records:,} reviews and tickets in {source}", highlight=False, soft_wrap=True)
    options = Options(
        source=source,
        output=home / "answers.jsonl",
        job=jobfile.default_job(source),
        emulator=True,
        emulator_script=script,
    )
    with called(home, asking=False) as crew:
        code = run(options, load(data_dir=home), console, crew)
    console.print("the first answers:", highlight=False)
    with options.output.open("rb") as file:
        for line in [next(file) for _ in range(3)]:
            console.print("  " + _told(line), highlight=False, soft_wrap=True, markup=False)
    return 0 if code in (0, 1) else code


def _fresh(data_dir: Path) -> Path:
    """Empty the demo's own directory; refuse to empty anything else."""
    if data_dir.exists() and any(data_dir.iterdir()) and not (data_dir / MARKER).exists():
        raise ConfigurationError(f"{data_dir} is not the demo's own directory; name an empty one with --data-dir")
    shutil.rmtree(data_dir, ignore_errors=True)
    home = prepare_home(data_dir)
    (home / MARKER).touch()
    return home


def _sample(kind: str, count: int, invalid: float) -> bytes:
    argv = [sys.executable, "-m", "bakehouse_emulator.samples", kind, str(count), "--invalid", str(invalid)]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def _told(line: bytes) -> str:
    fields = orjson.loads(line)
    content = (fields["result"].get("message") or {}).get("content") or [{}]
    return f"{fields['custom_id']}: {content[0].get('text', fields['result'])}"
