"""An emulator whose clock moves only when stepped, and a plain HTTP caller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

import bakehouse_emulator
from bakehouse_emulator import EmulatorOptions, Running, running

BATCHES = "/v1/messages/batches"
LIMIT = 10.0  # real seconds that anything here may take
SOURCES = Path(bakehouse_emulator.__file__).parents[1]


class Caller:
    """Calls the API as a client without the SDK would."""

    def __init__(self, url, *, key="any-key", version="2026-10-21"):
        self.url = url
        self.http = httpx2.Client(
            base_url=url, headers={"x-api-key": key, "anthropic-version": version}, timeout=LIMIT, trust_env=False
        )

    @staticmethod
    def params(text="Hello", **more):
        model = {"model": "claude-haiku-5-5", "max_tokens": 16}
        return {**model, "messages": [{"role": "user", "content": text}], **more}

    @classmethod
    def requests(cls, count, text="Hello"):
        return [{"custom_id": f"item-{n}", "params": cls.params(f"{text} {n}")} for n in range(count)]

    def post(self, requests, **headers):
        return self.http.post(BATCHES, json={"requests": requests}, headers=headers)

    def create(self, requests=2):
        """A new batch of these requests, or of so many."""
        answer = self.post(self.requests(requests) if isinstance(requests, int) else requests)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def of(self, *params):
        """A new batch with one request for each of these params."""
        return self.create([{"custom_id": f"item-{n}", "params": each} for n, each in enumerate(params)])

    def get(self, batch_id=""):
        return self.http.get(f"{BATCHES}/{batch_id}" if batch_id else BATCHES)

    def show(self, batch_id):
        return self.get(batch_id).json()

    def cancel(self, batch_id):
        return self.http.post(f"{BATCHES}/{batch_id}/cancel")

    def delete(self, batch_id):
        return self.http.delete(f"{BATCHES}/{batch_id}")

    def stream(self, batch_id):
        return self.http.get(f"{BATCHES}/{batch_id}/results")

    def results(self, batch_id):
        """The results by custom_id."""
        answer = self.stream(batch_id)
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
        return {line["custom_id"]: line["result"] for line in lines}


@pytest.fixture
def start():
    """Starts emulators with other options; they end with the test."""
    open_ones = []

    def started(**options):
        manager = running(EmulatorOptions(**{"speed": 0, **options}))
        open_ones.append(manager)
        return manager.__enter__()

    yield started
    for manager in open_ones:
        manager.__exit__(None, None, None)


@pytest.fixture
def call():
    """Makes callers; their connections are closed with the test."""
    made = []

    def caller(server, **options):
        made.append(Caller(server.url, **options))
        return made[-1]

    yield caller
    for each in made:
        each.http.close()


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def api(server, call):
    return call(server)


@pytest.fixture
def wait_for():
    """Waits until something holds, with a limit."""

    def waited(condition, what):
        give_up = time.monotonic() + LIMIT
        while not (found := condition()):
            assert time.monotonic() < give_up, f"{what}: not within {LIMIT:g} s"
            time.sleep(0.01)
        return found

    return waited


@pytest.fixture
def spawn(tmp_path, wait_for):
    """Starts emulators as processes; returns the process and a handle on the emulator."""
    processes = []

    def spawned(*arguments):
        port_file = tmp_path / f"port-{len(processes)}"
        command = [sys.executable, "-m", "bakehouse_emulator", "--port", "0", "--port-file", str(port_file), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        wait_for(port_file.exists, "the port file")
        return process, Running(f"http://127.0.0.1:{port_file.read_text()}")

    yield spawned
    for process in processes:
        process.kill()
        process.communicate()
