"""The emulator as a server: its socket, its event loop, its end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from bakehouse_emulator.app import application
from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.service import Emulator
from bakehouse_emulator.wire import TRANSPORT


class PortInUse(Exception):
    """Something else listens there. The text is a whole sentence."""


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, made to tell the application its transport, so that it can cut a connection."""

    app: ASGIApp

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop for each new connection."""
        super().connection_made(transport)
        self.app = _with_transport(self.app, transport)


def _with_transport(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[TRANSPORT] = {"transport": transport}
        await app(scope, receive, send)

    return known


class Server(uvicorn.Server):
    """A uvicorn server that says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server, and only the server: what comes after it still runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use; choose another with --port, or 0 for any free one."
            ) from None
        raise PortInUse(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None
    return bound


def build(emulator: Emulator, ready: Callable[[], None]) -> Server:
    """A server for an emulator; `ready` is called once it listens."""
    config = uvicorn.Config(
        application(emulator),
        http=Protocol,
        ws="none",
        loop="uvloop" if find_spec("uvloop") else "asyncio",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return Server(config, ready)


def url(bound: socket.socket) -> str:
    """Where a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(options: EmulatorOptions, say: Callable[[str], None]) -> None:
    """Run until told to stop by SIGINT or SIGTERM. Raises PortInUse."""
    bound = bind(options.host, options.port)
    emulator = Emulator(options)

    def ready() -> None:
        if options.port_file:
            _write(Path(options.port_file), str(bound.getsockname()[1]))
        say(f"listening on {url(bound)}")

    try:
        build(emulator, ready).run(sockets=[bound])
    finally:
        emulator.close()


def _write(path: Path, text: str) -> None:
    """Write a file so that no reader sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(path)
