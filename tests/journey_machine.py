"""The real thing: commands as processes, their own server and workers, and an emulator that outlives them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil

from bakehouse_worker.store import reading
from bakehouse_worker.store.database import open_database

LIMIT = 90.0  # seconds that anything here may take

FAST = {
    "BAKEHOUSE_POLL_INTERVAL": "0.3",
    "BAKEHOUSE_LINGER": "0.3",
    "BAKEHOUSE_TICK": "0.3",
    "BAKEHOUSE_RETRY_BASE": "0.5",
    "BAKEHOUSE_DOUBT_GRACE": "2",
    "BAKEHOUSE_CREATE_TIMEOUT": "20",
    "BAKEHOUSE_FANOUT_LIMIT": "20",
}


def wait_until(condition, what, limit=LIMIT):
    """Wait for a condition, never for luck."""
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, f"not within {limit:g} s: {what}"
        time.sleep(0.05)
    return found


def interruptible():
    """Hear Ctrl-C even where a shell started the tests in the background and told them not to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _cwd(process):
    try:
        return process.cwd()
    except psutil.Error:
        return ""


class Machine:
    """One directory with a data directory in it, commands run there, and the API they speak to."""

    def __init__(self, home, api):
        self.home, self.api = home, api
        self.env = {**os.environ, **FAST, "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "key", "COLUMNS": "200"}
        self.started = []

    def argv(self, *arguments):
        return [sys.executable, "-m", "bakehouse_worker", *map(str, arguments)]

    def run(self, *arguments, limit=LIMIT, **env):
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.home,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
        )

    def start(self, *arguments, **env):
        """Start a command and leave it running."""
        log = (self.home / "output.txt").open("ab")
        process = subprocess.Popen(
            self.argv(*arguments),
            cwd=self.home,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=interruptible,
        )
        self.started.append(process)
        return process

    def kill_tree(self, process):
        """End a command and everything it started, at once and without notice."""
        tree = [process, *psutil.Process(process.pid).children(recursive=True)]
        for each in tree:
            try:
                each.send_signal(signal.SIGKILL)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        process.wait(10)

    def left_running(self):
        """Processes that work on this machine's directory."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
            environ = process.info["environ"] or {}
            if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            words = [*(process.info["cmdline"] or []), environ.get("BAKEHOUSE_DATA_DIR", ""), _cwd(process)]
            if any(str(self.home / ".bakehouse") in word for word in words):
                found.append(process)
        return found

    def batches(self):
        """The live batches, straight from the store; empty while there is none."""
        file = self.home / ".bakehouse" / "bakehouse.sqlite"
        if not file.exists():
            return []
        database = open_database("", file)
        try:
            return reading.live_batches(database)
        except Exception:  # the schema is not there yet
            return []
        finally:
            database.close()

    def write(self, count, name="in.jsonl", *, start=0, custom_id=None, mode="w", **params):
        """Write an input file of so many records."""
        custom_id = custom_id or (lambda number: f"record {number}")
        with (self.home / name).open(mode, encoding="utf-8") as file:
            for number in range(start, start + count):
                body = {"model": "claude-haiku-5-5", "max_tokens": 64, **params}
                body["messages"] = [{"role": "user", "content": f"item {number}"}]
                file.write(json.dumps({"custom_id": custom_id(number), "params": body}) + "\n")
        return self.home / name

    def lines(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.home / name).read_text(encoding="utf-8").splitlines()]

    def check_answers(self, source="in.jsonl", output="out.jsonl"):
        """Every input has one line, in its order, with its own answer."""
        asked, answered = self.lines(source), self.lines(output)
        assert [line["custom_id"] for line in answered] == [line["custom_id"] for line in asked]
        for question, answer in zip(asked, answered, strict=True):
            text = question["params"]["messages"][0]["content"]
            want = f"answer to {hashlib.sha256(text.encode()).hexdigest()[:12]}"
            assert answer["result"]["message"]["content"][0]["text"] == want
