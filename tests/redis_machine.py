"""Redis servers as their owners run them: with passwords, as master and replica under a Sentinel, behind TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from bakehouse_worker.app import configure
from bakehouse_worker.local.embedded import find_binary

#: Seconds in which whatever is waited for must have happened.
LIMIT = 20.0


class Server:
    """A server's process on a port of its own. `settings` are lines of its configuration."""

    def __init__(self, home: Path, *settings: str, sentinel: bool = False) -> None:
        self.port = free_port()
        home.mkdir()
        config = home / "server.conf"
        common = (f"port {self.port}", "bind 127.0.0.1", f"dir {home}", f"logfile {home / 'server.log'}")
        config.write_text("\n".join((*common, *settings)) + "\n")
        self.process = subprocess.Popen([find_binary(), config, *(["--sentinel"] if sentinel else [])])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self, password: str | None = None) -> redis.Redis:
        """A connection that never tries twice."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, password=password, decode_responses=True, protocol=2, retry=once)


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so. A server that does not answer yet is no answer."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.ConnectionError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"not so after {LIMIT:g} seconds")


@contextlib.contextmanager
def running(home: Path, *settings: str) -> Iterator[Server]:
    """Run one server until the end of the block; `home` is made."""
    server = Server(home, *settings)
    try:
        until(lambda: answers(server))
        yield server
    finally:
        server.kill()


def answers(server: Server) -> bool:
    try:
        return bool(server.client().ping())
    except redis.AuthenticationError:
        return True


def celery_at(url: str, monkeypatch: pytest.MonkeyPatch, prefix: str = "bakehouse") -> Celery:
    """Make a Celery application, configured as the workers' own is."""
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", url)
    monkeypatch.setenv("BAKEHOUSE_REDIS_PREFIX", prefix)
    application = Celery(set_as_current=False)
    configure(application)
    return application


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(home: Path) -> tuple[Path, Path]:
    """Make a certificate of our own for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    names, made = "subjectAltName=DNS:localhost,IP:127.0.0.1", (home / "certificate.pem", home / "key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=localhost", "-addext", names]
    argv += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-out", made[0], "-keyout", made[1]]
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
    return made


@contextlib.contextmanager
def tls_before(port: int, certificate_file: Path, key_file: Path) -> Iterator[int]:
    """End TLS before a server, as stunnel does: the server that pip installs is built without it. Yields the TLS port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)
    loop, opened = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(onward, writer))

    async def start() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        opened.set()

    def run() -> None:
        loop.set_exception_handler(lambda *_: None)  # a client that does not trust us hangs up
        loop.create_task(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert opened.wait(LIMIT)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT)
