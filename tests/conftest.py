"""What all tests share: a clean environment, and a real Redis of the session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bakehouse_worker.local import embedded


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests may reach them."""
    for name in os.environ:
        if name.startswith(("BAKEHOUSE_", "ANTHROPIC_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory):
    """A real server, the one that users get, durable as they get it."""
    home = tmp_path_factory.mktemp("redis", numbered=True)
    (home / "logs").mkdir()
    child, url = embedded.server(Path(home))
    child.start()
    try:
        embedded.wait_until_ready(child, url)
        yield url
    finally:
        assert child.process is not None
        child.process.terminate()
        child.process.wait(10)
