"""The rivals, each in an environment of its own under bench/.venvs. What cannot be installed is told in the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.contenders import Contender, script

VENVS = Path(__file__).parent / ".venvs"
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "TELEMETRY_ENABLED": "0", "CURATOR_DISABLE_RICH_DISPLAY": "1"}
#: name -> (what pip installs, the script)
KNOWN = {
    "steadybatch": (("steadybatch[anthropic]==0.2.1",), "steady"),
    "batchwork-ai": (("batchwork-ai==0.3.0",), "batchwork"),
    "curator": (("bespokelabs-curator==0.1.31", "instructor==1.11.3"), "curated"),
    "inspect-ai": (("inspect-ai==0.3.285", "anthropic"), "inspected"),
}
#: Seconds that pip may take for one.
LIMIT = 900


def contenders(names: list[str]) -> Iterator[tuple[Contender | None, str]]:
    """Yield each rival, installed; or None and a sentence on why it is left out."""
    for name in names:
        wanted, file = KNOWN[name]
        refused = install(name, wanted)
        made = script(file, str(VENVS / name / "bin" / "python"), env=QUIET)
        yield (None, f"{name}: {refused}") if refused else (Contender(name, made.argv, made.env), "")


def install(name: str, wanted: tuple[str, ...]) -> str:
    """Make the environment of one rival unless it is there; returns why it could not be made."""
    home = VENVS / name
    ready = home / ".ready"
    if ready.exists() and ready.read_text() == " ".join(wanted):
        return ""
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no word"]
        return f"pip cannot install it here ({last[0][:160]})"
    except subprocess.TimeoutExpired:
        return f"pip took longer than {LIMIT} s"
    ready.write_text(" ".join(wanted))
    return ""
