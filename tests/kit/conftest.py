"""pytest in a directory and a process of its own, as the kit's users run it, with the example application in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bakehouse
import bakehouse_emulator
import bakehouse_worker

ROOTS = [Path(package.__file__).parents[1] for package in (bakehouse, bakehouse_worker, bakehouse_emulator)]
APPLICATION = Path(__file__).with_name("triage.py").read_text(encoding="utf-8")
CONFTEST = """
import pytest

@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIAGE_DATABASE", str(tmp_path / "triage.sqlite"))
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the application and the plugin, from the source tree; `-p` as it is the first word of every run."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, ROOTS)))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    pytester.makepyfile(triage=APPLICATION)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error")
    return pytester
