"""No I/O but files and a dead port, so no example is slow for a reason: no deadline on any of them."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unit", max_examples=50, deadline=None, print_blob=True)
settings.load_profile("unit")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty current directory: no `.env`, no `.bakehouse`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
