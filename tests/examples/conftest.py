"""Somebody who follows an example's page, block by block, in a directory of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from journey_machine import FAST, LIMIT, interruptible, wait_until
from pages import HOUSE, blocks

#: What a page calls by name, as it stands in this interpreter's environment.
SHIMS = {
    "bakehouse": 'if [ "$1" = up ]; then set -- "$@" --flower-port 0; fi\nexec {python} -m bakehouse_worker "$@"',
    "celery": 'exec {python} -m celery "$@"',
    "python": 'exec {python} "$@"',
    "uvicorn": 'exec {python} -m uvicorn "$@"',
}


class Reader:
    """Has a copy of examples/, and a terminal for each block that stays."""

    def __init__(self, home, example):
        self.home, self.page = home, f"examples/{example}/README.md"
        self.here = home / "examples" / example
        shutil.copytree(HOUSE / "examples", home / "examples", ignore=shutil.ignore_patterns(".bakehouse"))
        (home / "bin").mkdir()
        for name, line in SHIMS.items():
            file = home / "bin" / name
            file.write_text(f"#!/bin/sh\n{line.format(python=sys.executable)}\n", encoding="utf-8")
            file.chmod(0o755)
        path = f"{home}/bin:{os.environ['PATH']}"
        self.env = {**os.environ, **FAST, "PATH": path, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
        self.terminals = {}

    def blocks(self, language="bash"):
        return [block.text for block in blocks(self.page, language)]

    def run(self, text, **env):
        """Type a block, and return what it prints; it must end well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.home,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, name, text, says="", **env):
        """Type a block that stays into a terminal of its own, and wait until it says something."""
        log = self.home / f"{name}.txt"
        with log.open("ab") as output:
            self.terminals[name] = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.home,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=interruptible,
            )
        wait_until(lambda: says in self.said(name) or self.terminals[name].poll() is not None, f"{name} says {says!r}")
        assert self.terminals[name].poll() is None, self.said(name)
        return self.terminals[name]

    def said(self, name):
        return (self.home / f"{name}.txt").read_text(encoding="utf-8")

    def interrupt(self, *names, number=signal.SIGINT):
        """Type Ctrl-C into terminals, and wait for their ends."""
        processes = [self.terminals.pop(name) for name in names]
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)
        for process in processes:
            process.wait(LIMIT)

    def running(self):
        """What runs in this reader's directory."""
        found = []
        for process in psutil.process_iter(["cwd", "status"]):
            inside = str(process.info["cwd"] or "").startswith(str(self.home))
            if inside and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found


@pytest.fixture
def follow(tmp_path):
    """Follow an example's page. In the end, Ctrl-C in every terminal leaves nothing running."""
    readers = []

    def begin(example):
        readers.append(Reader(tmp_path / example, example))
        return readers[-1]

    try:
        yield begin
        for reader in readers:
            reader.interrupt(*reader.terminals)
            wait_until(lambda reader=reader: not reader.running(), "everything has ended", 15)
    finally:
        for process in (process for reader in readers for process in reader.running()):
            process.kill()


@pytest.fixture
def running_system(tmp_path):
    """A data directory on which everything runs, against the emulator, as somebody else's service."""
    home = tmp_path / "elsewhere"
    argv = [sys.executable, "-m", "bakehouse_worker", "up", "--emulator", "--flower-port", "0", "--data-dir", str(home)]
    process = subprocess.Popen(argv, cwd=tmp_path, env={**os.environ, **FAST}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline()
        yield home
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
