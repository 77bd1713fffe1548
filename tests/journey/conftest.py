"""The real thing: commands as processes, their own server and workers, and an emulator that outlives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Server
from journey_machine import Machine, wait_until

from bakehouse_emulator import Running


@pytest.fixture
def api(tmp_path):
    """An emulator as a process of its own, which knows its batches whatever happens to others."""
    port_file = tmp_path / "api.port"
    state = tmp_path / "api"
    argv = [
        sys.executable,
        "-m",
        "bakehouse_emulator",
        "--port",
        "0",
        "--port-file",
        str(port_file),
        "--state",
        str(state),
    ]
    process = subprocess.Popen([*argv, "--speed", "60", "--batch-seconds", "30", "--quiet"], stdin=subprocess.DEVNULL)
    try:
        wait_until(port_file.exists, "the emulator listens")
        yield Running(f"http://127.0.0.1:{port_file.read_text().strip()}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def server(tmp_path):
    """A Redis of one's own, which a test may kill."""
    made = Server(tmp_path / "redis")
    made.start()
    yield made
    if made.process.poll() is None:
        made.kill()


@pytest.fixture
def running_machine(machine):
    """A machine on which `bakehouse up` runs already: commands join it, and start faster."""
    machine.start("up", "--flower-port", "0")
    wait_until((machine.home / ".bakehouse" / "redis.url").exists, "the system is up")
    return machine


@pytest.fixture
def machine(tmp_path, api):
    home = Path(tmp_path) / "machine"
    home.mkdir()
    made = Machine(home, api)
    yield made
    for process in made.started:
        if process.poll() is None:
            made.kill_tree(process)
    wait_until(lambda: not made.left_running(), "everything has ended", 15)
