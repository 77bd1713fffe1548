"""The way to Redis: where it is, a lazy connection to it, and what its errors mean in one sentence."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from bakehouse.address import Address, parse, refused
from bakehouse.errors import ConfigurationError

#: Seconds to wait for one Sentinel before the next is asked.
SENTINEL_TIMEOUT = 3.0


def connect(url: str) -> redis.Redis:
    """Return a lazy connection with one quick retry, so that a Redis that is down is told within seconds.

    With Sentinels, each new connection asks them for the present master. Raises ConfigurationError for a URL that cannot be used.
    """
    address = parse(url)
    _files_are_there(address)
    wanted: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": 3,
        "socket_timeout": 30,
        "retry": Retry(ConstantBackoff(0.1), 1),
        "health_check_interval": 30,
        "db": address.db,
        "username": address.username,
        "password": address.password,
        **(address.tls or {}),
        **address.options,
    }
    if address.service is not None:
        return _master(address, wanted)
    if address.path is not None:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **wanted)
    else:
        [(host, port)] = address.hosts
        kind = Connection if address.tls is None else SSLConnection
        pool = ConnectionPool(connection_class=kind, host=host, port=port, **wanted)
    return redis.Redis.from_pool(pool)


class Held:
    """One connection that stays out of redis-py's pool between commands; who comes while it is at work takes another from the pool.

    Out of the pool, through the client and back again is a quarter of an append's time on a local socket. What is worth having of it
    is done here too: a connection is looked at before it is used, and a command is repeated as the connection's `Retry` says. Where
    Sentinels name the master, every command goes through the pool: only there is a connection to the old one noticed. Safe to share
    between threads, and to use after a fork. What hooks into `Redis.execute_command` does not see these commands.
    """

    def __init__(self, connection: redis.Redis) -> None:
        self._idle: list[Connection] = []  # one, or none; two if two threads come back at once
        self._client, self._pool = connection, connection.connection_pool
        self._pid = os.getpid()

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter ends
            if self._pid == os.getpid():
                self.let_go()

    def execute(self, *command: str | bytes | int) -> Any:
        """Send one command and return its answer. What it raises passes; no answer that was not read is ever taken for another's."""
        if type(self._pool) is not ConnectionPool:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        mine = self._take()
        try:
            answer = mine.retry.call_with_retry(lambda: _exchange(mine, command), lambda _: _hang_up(mine))
        except ResponseError:  # an answer, and read
            self._pool.release(mine)
            raise
        except BaseException:
            self._throw_away(mine)
            raise
        self._keep(mine)
        return answer

    def let_go(self) -> None:
        """Give the connection back to the pool."""
        with suppress(IndexError):  # until none is left, or another thread has it
            while True:
                self._pool.release(self._idle.pop())

    def _take(self) -> Connection:
        if self._pid != os.getpid():  # forked: it is the parent's
            self._idle, self._pid = [], os.getpid()
        try:
            mine = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        try:
            sound = _is_sound(mine)
        except BaseException:
            self._throw_away(mine)
            raise
        if sound:
            return mine
        self._pool.release(mine)
        return self._pool.get_connection()  # which the pool has looked at, and connected anew

    def _throw_away(self, mine: Connection) -> None:
        try:
            _hang_up(mine)
        finally:
            self._pool.release(mine)

    def _keep(self, mine: Connection) -> None:
        if self._idle:
            self._pool.release(mine)
        else:
            self._idle.append(mine)


def _exchange(mine: Connection, command: tuple[str | bytes | int, ...]) -> Any:
    mine.send_command(*command)  # type: ignore[no-untyped-call]
    return mine.read_response()


def _hang_up(mine: Connection) -> None:
    mine.disconnect()  # type: ignore[no-untyped-call]


def _is_sound(mine: Connection) -> bool:
    """Tell whether a connection still stands, with nothing in it that nobody asked for."""
    try:
        return not mine.can_read(timeout=0)
    except (RedisError, OSError):
        return False


def locate(redis_url: str | None = None, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Find the Redis of this installation: the URL given or set, else the embedded server that runs on the data directory.

    Reads BAKEHOUSE_REDIS_URL and BAKEHOUSE_DATA_DIR. Raises ConfigurationError when there is neither.
    """
    url = redis_url or os.environ.get("BAKEHOUSE_REDIS_URL")
    if url:
        return url
    home = Path(data_dir or os.environ.get("BAKEHOUSE_DATA_DIR") or ".bakehouse")
    try:
        return (home / "redis.url").read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigurationError(
            f"BAKEHOUSE_REDIS_URL is not set and no embedded server runs on {home}/: "
            "set it, or start one there with `bakehouse up`"
        ) from None


def is_refused(error: RedisError) -> bool:
    """Whether the server refused the user or the password; waiting mends nothing then."""
    return isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError)


def is_read_only(error: RedisError) -> bool:
    """Whether the server is a replica, which takes no writes; before Redis 7 a script's error says so inside its text only."""
    return isinstance(error, ReadOnlyError) or (isinstance(error, ResponseError) and "READONLY" in str(error))


def why(error: RedisError) -> str:
    """Return what an error of Redis means and what to do, in one sentence without password and without records."""
    text = str(error).partition(", with args beginning with")[0]  # what follows is the command's own arguments
    if is_refused(error):
        return "Redis refuses the password in BAKEHOUSE_REDIS_URL, or wants one and there is none"
    if is_read_only(error):
        return (
            "Redis is a replica and takes no writes (READONLY), as after a failover: "
            "BAKEHOUSE_REDIS_URL must name the master, or the Sentinels (redis+sentinel://)"
        )
    if isinstance(error, MasterNotFoundError):
        if "AuthenticationError" in text:
            return "the Sentinels refuse the sentinel_password in BAKEHOUSE_REDIS_URL, or want one and there is none"
        return "Redis does not answer: no Sentinel in BAKEHOUSE_REDIS_URL names a master that is up for the service"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"Redis's certificate is not trusted; ssl_ca_certs=FILE in BAKEHOUSE_REDIS_URL names its authority: {text}"
        )
    if isinstance(error, ResponseError):
        return f"Redis refused the command: {text}"
    return f"Redis does not answer: {text}"


def _master(address: Address, wanted: dict[str, Any]) -> redis.Redis:
    secure, tls = address.tls is not None, address.tls or {}
    kwargs: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "socket_timeout": SENTINEL_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),  # the next Sentinel is asked instead
    }
    if address.sentinel_password is not None:  # by a provider: older releases of redis-py show a password in a repr
        provider = UsernamePasswordCredentialProvider(address.sentinel_username, address.sentinel_password)
        kwargs["credential_provider"] = provider
    sentinels = Sentinel(address.hosts, sentinel_kwargs={**kwargs, **tls, "ssl": secure})  # type: ignore[no-untyped-call]
    master: redis.Redis = sentinels.master_for(address.service, **wanted, ssl=secure)  # type: ignore[no-untyped-call]
    return master


def _files_are_there(address: Address) -> None:
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
        named = (address.tls or {}).get(name)
        if named is not None and not Path(named).exists():
            raise refused(f"{name} names {named}, which is not there")
