"""The door into Redis: one script that checks the high-water mark and appends entries, all of a call's chunk or none of it.

A replay of the script (redis-py repeats a command whose answer was lost) appends the same entries twice; acceptance knows a
record by (job, custom_id) and digest, so the second copy is the same record and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from bakehouse.contract import Keys
from bakehouse.errors import ConfigurationError, InboxFull, InboxUnavailable

DEFAULT_MAX_INBOX_BYTES = 256_000_000

#: KEYS inbox, bytes; ARGV limit, then header and params by turns. Returns {1 or 0, bytes that stand in the inbox}.
_APPEND = """
local held = tonumber(redis.call('GET', KEYS[2]) or '0')
if held >= tonumber(ARGV[1]) then return {0, held} end
local added = 0
for i = 2, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'h', ARGV[i], 'p', ARGV[i + 1])
  added = added + #ARGV[i] + #ARGV[i + 1]
end
return {1, redis.call('INCRBY', KEYS[2], added)}
"""


class Inbox:
    """Appends encoded entries to the inbox of one installation. Safe to share between threads and to use after a fork."""

    def __init__(self, connection: redis.Redis, keys: Keys, max_bytes: int = DEFAULT_MAX_INBOX_BYTES) -> None:
        self._connection = connection
        self._keys = (keys.inbox, keys.inbox_bytes)
        self._max_bytes = max_bytes
        self._append = connection.register_script(_APPEND)

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Append all entries or none. Raises InboxFull or InboxUnavailable."""
        arguments: list[bytes | int] = [self._max_bytes]
        for header, params in entries:
            arguments += (header, params)
        try:
            done, held = self._append(keys=self._keys, args=arguments)
        except ResponseError as error:
            raise InboxUnavailable(_why(error)) from error
        except RedisError as error:
            raise InboxUnavailable(f"Redis does not answer: {error}") from error
        if not done:
            raise InboxFull(int(held), self._max_bytes)


def connect(url: str) -> redis.Redis:
    """Return a lazy connection with one quick retry, so that a Redis that is down is told within seconds."""
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            socket_connect_timeout=3,
            socket_timeout=30,
            retry=Retry(ConstantBackoff(0.1), 1),
            health_check_interval=30,
        )
    except ValueError as error:
        raise ConfigurationError(f"BAKEHOUSE_REDIS_URL cannot be used: {error}") from None


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


def _why(error: ResponseError) -> str:
    text = str(error)
    if "OOM" in text or "maxmemory" in text:
        return "Redis is full (maxmemory reached): give it more memory, or wait until the workers have accepted some"
    if "NOAUTH" in text or "WRONGPASS" in text:
        return "Redis refuses the password in BAKEHOUSE_REDIS_URL"
    return f"Redis refused the records: {text}"
