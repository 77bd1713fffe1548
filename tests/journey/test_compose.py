"""Every service of docker-compose.yml by its very command and environment, in its order, without a container engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from cluster import free_port
from compose import HOUSE, env_file, services
from journey_machine import wait_until

from bakehouse_worker.local import embedded

VARIABLES = env_file("examples/emulator.env")


class Host:
    """Runs services as processes. Their names in the compose network become addresses of this machine."""

    def __init__(self, home, postgres):
        self.home, self.running = home, {}
        self.ports = {"redis:6379": free_port(), "emulator:8400": free_port(), "5555": free_port()}
        self.socket = postgres.get_uri().partition("?")[2]
        self.services = services(VARIABLES)
        self.bin = home / "bin"
        self.bin.mkdir()
        (self.bin / "redis-server").symlink_to(embedded.find_binary())
        for name in ("bakehouse", "redis-cli"):
            (self.bin / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {_MODULES[name]} "$@"\n')
            (self.bin / name).chmod(0o755)

    def here(self, text):
        """A text of the compose file with the addresses of this machine."""
        text = text.replace("@postgres:5432/bakehouse", f"@/bakehouse?{self.socket}")
        text = text.replace("redis:6379", f"127.0.0.1:{self.ports['redis:6379']}")
        for name in ("emulator:8400", "127.0.0.1:8400"):
            text = text.replace(name, f"127.0.0.1:{self.ports['emulator:8400']}")
        text = text.replace("redis-server - ", f"redis-server - --port {self.ports['redis:6379']} ")
        return text.replace("/var/lib/bakehouse", str(self.home / "state"))

    def words(self, name):
        service = self.services[name]
        words = [self.here(word) for word in service["command"]]
        for number, port in (("8400", "emulator:8400"), ("5555", "5555")):
            words = [str(self.ports[port]) if word == number else word for word in words]
        return words if words[0] == "sh" else ["bakehouse", *words]

    def environment(self, name):
        own = {key: self.here(value) for key, value in self.services[name].get("environment", {}).items()}
        path = {"PATH": f"{self.bin}:{os.environ['PATH']}", "BAKEHOUSE_DATA_DIR": str(self.home / name)}
        python = [part for part in (os.environ.get("PYTHONPATH"), own.get("PYTHONPATH")) if part]
        return {**own, **path, "HOME": str(self.home), "PYTHONPATH": os.pathsep.join(python)}

    def start(self, name):
        with (self.home / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.words(name),
                env=self.environment(name),
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def healthy(self, name):
        """Run the service's own health check once."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        words = [self.here(word) for word in words]
        argv = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        env = self.environment(name) | {"REDISCLI_PORT": str(self.ports["redis:6379"])}
        return subprocess.run(argv, env=env, cwd=self.home, capture_output=True, timeout=20).returncode == 0

    def kill(self, name):
        process = self.running.pop(name)
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            each.kill()
        process.wait(10)

    def stop(self):
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            process.wait(45)


_MODULES = {"bakehouse": "bakehouse_worker", "redis-cli": "redis_ping"}
PING = """
import os, sys, redis
assert sys.argv[1:] == ["ping"]
print("PONG" if redis.Redis(port=int(os.environ["REDISCLI_PORT"]), password=os.environ["REDISCLI_AUTH"], retry=None).ping() else "")
"""


@pytest.fixture
def host(tmp_path, own_postgres, monkeypatch):
    with psycopg.connect(own_postgres.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE bakehouse LOGIN PASSWORD '{VARIABLES['POSTGRES_PASSWORD']}'")
        connection.execute("CREATE DATABASE bakehouse OWNER bakehouse")
    (tmp_path / "redis_ping.py").write_text(PING)
    made = Host(tmp_path, own_postgres)
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_service_runs_from_migrate_to_a_finished_job_and_its_health_check_turns_red_when_it_is_killed(host):
    for name in ("redis", "emulator"):
        host.start(name)
        wait_until(lambda name=name: host.healthy(name), f"{name} is healthy", 20)
    assert (
        "redis-server" in psutil.Process(host.running["redis"].pid).cmdline()[0]
    )  # no shell keeps the signals from it
    host.start("migrate")
    assert host.running.pop("migrate").wait(30) == 0, (host.home / "migrate.log").read_text()
    roles = ("control", "transfer", "deliver", "beat", "flower")
    for name in roles:
        assert not host.healthy(name)
        host.start(name)
    for name in roles:
        wait_until(lambda name=name: host.healthy(name), f"{name} is healthy", 30)

    application = [sys.executable, str(HOUSE / "examples" / "enqueue_app.py")]
    subprocess.run(application, env=host.environment("beat"), cwd=host.home, check=True, timeout=20)
    status = ["bakehouse", "status"]
    wait_until(
        lambda: b"3 succeeded" in subprocess.run(status, env=host.environment("control"), capture_output=True).stdout,
        "the job is finished",
        60,
    )
    for name in (*roles, "emulator", "redis"):
        host.kill(name)
        killed = time.monotonic()
        assert not host.healthy(name), f"{name} was killed"
        assert time.monotonic() - killed < 10
    assert _listens_nowhere(host)


def _listens_nowhere(host):
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=host.ports["redis:6379"], retry=None).ping()
    return not any(Path(f"/proc/{process.pid}").exists() for process in host.running.values())
