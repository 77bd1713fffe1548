"""On what, when and with which versions something was measured: a figure without them says nothing."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bakehouse import __version__
from bakehouse_worker.local.embedded import find_binary
from bakehouse_worker.store.database import sqlite_driver

PACKAGES = ("anthropic", "celery", "redis", "orjson", "sqlalchemy", "sqlmodel", "psycopg", "uvicorn", "httptools")


def describe() -> dict[str, object]:
    """Return what a reader needs to judge the figures."""
    memory = next(row for row in Path("/proc/meminfo").read_text().splitlines() if row.startswith("MemTotal"))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "bakehouse": f"{__version__} {_said('git', 'rev-parse', '--short', 'HEAD')}".strip(),
        "cpu": f"{os.cpu_count()} x {_cpu()}",
        "memory": f"{int(memory.split()[1]) / 1e6:.0f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite_driver().sqlite_version,
        "server": _said(str(find_binary()), "--version").partition(" sha=")[0],
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "load before": os.getloadavg()[0],
        "niceness": os.nice(0),
    }


def load() -> float:
    return round(os.getloadavg()[0], 1)


def _cpu() -> str:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    return next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())


def _said(*argv: str) -> str:
    house = Path(__file__).parent
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=house).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
