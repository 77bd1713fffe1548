"""What teams operate: workers and beats as separate processes on several "hosts", a Redis and a PostgreSQL that can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import redis
from journey_machine import FAST, wait_until

from bakehouse_worker.local import embedded

ROLES = ("control", "transfer", "deliver", "beat")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A Redis or Valkey server with a password and an append-only file, on a port of its own."""

    def __init__(self, home, *, password="secret"):
        self.home, self.port, self.process, self.password = home, free_port(), None, password
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/2"
        home.mkdir()
        self.config = home / "server.conf"  # a password on a command line is seen by everybody
        self.config.write_text(f"requirepass {password}\n")

    def start(self, *more):
        options = ["--port", str(self.port), "--appendonly", "yes", "--dir", str(self.home)]
        argv = [str(embedded.find_binary()), str(self.config), *options, "--maxmemory-policy", "noeviction", *more]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        wait_until(self.answers, "the server answers", 15)

    def answers(self):
        try:
            return redis.Redis.from_url(self.url, retry=None).ping()
        except redis.RedisError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class Postgres:
    """A PostgreSQL server of its own, that can be killed and started again on the same data."""

    def __init__(self, server):
        self.server, self.url = server, server.get_uri()

    def kill(self):
        """End the postmaster without notice; its children follow, and the next start recovers from the log."""
        children = psutil.Process(self.server.get_pid()).children()
        os.kill(self.server.get_pid(), signal.SIGKILL)
        psutil.wait_procs(children, 10)

    def start(self):
        self.server.ensure_postgres_running()


class Cluster:
    """Hosts are data directories. Every process reads its settings from the environment alone."""

    def __init__(self, home, api, redis_url, database_url, **settings):
        self.home = home
        self.env = {
            **os.environ,
            **FAST,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "key",
            "BAKEHOUSE_REDIS_URL": redis_url,
            "BAKEHOUSE_DATABASE_URL": database_url,
            "BAKEHOUSE_AUTO_MIGRATE": "false",
            **{f"BAKEHOUSE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.processes = {}

    def argv(self, *arguments):
        return [sys.executable, "-m", "bakehouse_worker", *map(str, arguments)]

    def command(self, *arguments, host="a", limit=60):
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*arguments), env=self.on(host), cwd=self.home, capture_output=True, text=True, timeout=limit
        )

    def on(self, host):
        return {**self.env, "BAKEHOUSE_DATA_DIR": str(self.home / host)}

    def start(self, host, role, *arguments):
        """Start one role on a host; its output goes to a log file."""
        words = (role,) if role in ("beat", "flower", "worker") else ("worker", "--queues", role)
        with self.log(host, role).open("ab") as log:
            self.processes[host, role] = subprocess.Popen(
                self.argv(*words, *arguments),
                env=self.on(host),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[host, role]

    def start_host(self, host):
        for role in ROLES:
            self.start(host, role)

    def log(self, host, role) -> Path:
        return self.home / f"{host}-{role}.log"

    def ready(self, *hosts):
        """Tell whether all roles of these hosts work; one that ended instead is told of with its last words."""
        for (host, role), process in self.processes.items():
            words = self.log(host, role).read_text(errors="replace")[-2_000:]
            assert host not in hosts or process.poll() is None, f"{role} of {host} ended with {process.poll()}: {words}"
        return all(self.command("health", *ROLES, "--ready", host=host).returncode == 0 for host in hosts)

    def kill(self, host, role):
        """End a process and its pool at once and without notice."""
        process = self.processes.pop((host, role))
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait(10)

    def enqueue(self, count, size, job="job"):
        """Enqueue a file of so many records, each of about so many bytes."""
        file = self.home / "in.jsonl"
        with file.open("w") as lines:
            for number in range(count):
                params = {"model": "claude-haiku-5-5", "max_tokens": 64}
                params["messages"] = [{"role": "user", "content": f"item {number} " + "x" * size}]
                lines.write(json.dumps({"custom_id": f"r{number}", "params": params}) + "\n")
        assert self.command("enqueue", str(file), "--job", job).returncode == 0

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
