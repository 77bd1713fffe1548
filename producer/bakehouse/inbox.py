"""The door into Redis: one script that checks the high-water mark and appends entries, all of a call's chunk or none of it.

A replay of the script (a command whose answer was lost is sent again, once) appends the same entries twice; acceptance knows a
record by (job, custom_id) and digest, so the second copy is the same record and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

import redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from bakehouse.connection import Held, is_read_only, why
from bakehouse.contract import Keys
from bakehouse.errors import InboxFull, InboxUnavailable, NotOnDisk

DEFAULT_MAX_INBOX_BYTES = 256_000_000
#: Seconds that a durable append waits for Redis to have it on disk.
DISK_TIMEOUT = 5.0

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
_DIGEST = sha1(_APPEND.encode(), usedforsecurity=False).hexdigest()


class Inbox:
    """Appends encoded entries to the inbox of one installation. Safe to share between threads and to use after a fork."""

    def __init__(self, connection: redis.Redis, keys: Keys, max_bytes: int = DEFAULT_MAX_INBOX_BYTES) -> None:
        self._connection = connection
        self._keys = (keys.inbox, keys.inbox_bytes)
        self._max_bytes = max_bytes
        self._held = Held(connection)

    def append(self, entries: Sequence[tuple[bytes, bytes]], *, durable: bool = False) -> None:
        """Append all entries or none; with `durable`, wait until Redis has them on disk. Raises InboxFull or InboxUnavailable."""
        arguments: list[bytes | int] = [self._max_bytes]
        for header, params in entries:
            arguments += (header, params)
        try:
            if durable:
                done, held = self._append_to_disk(arguments)
            else:
                done, held = self._append(arguments)
        except RedisError as error:
            if is_read_only(error):  # the next call connects anew, and may find the master under the same name
                self._held.let_go()
                self._connection.connection_pool.disconnect(inuse_connections=False)
            raise InboxUnavailable(_why(error)) from error
        if not done:
            raise InboxFull(int(held), self._max_bytes)

    def is_full(self) -> bool:
        """Tell whether an append would be refused for the high-water mark. Raises InboxUnavailable."""
        try:
            held: Any = self._connection.get(self._keys[1])
        except RedisError as error:
            raise InboxUnavailable(_why(error)) from error
        return int(held or 0) >= self._max_bytes

    def mark(self) -> bytes:
        """Return the id of the last entry that was ever appended; `0-0` if none was. Raises InboxUnavailable."""
        try:
            told: Any = self._connection.xinfo_stream(self._keys[0])
        except ResponseError:  # there is no stream yet
            return b"0-0"
        except RedisError as error:
            raise InboxUnavailable(_why(error)) from error
        last: bytes = told["last-generated-id"]
        return last

    def passed(self, mark: bytes) -> bool:
        """Tell whether every entry up to a mark has been accepted and is gone. Raises InboxUnavailable."""
        try:
            oldest: Any = self._connection.xrange(self._keys[0], count=1)
        except RedisError as error:
            raise InboxUnavailable(_why(error)) from error
        return not oldest or _order(oldest[0][0]) > _order(mark)

    def _append(self, arguments: Sequence[bytes | int]) -> tuple[int, int]:
        """Run the script by its digest; by its text where the server does not know it yet, or not any more."""
        given = (len(self._keys), *self._keys, *arguments)
        try:
            done, held = self._held.execute("EVALSHA", _DIGEST, *given)
        except NoScriptError:
            done, held = self._held.execute("EVAL", _APPEND, *given)
        return done, held

    def _append_to_disk(self, arguments: Sequence[bytes | int]) -> tuple[int, int]:
        """Append and wait for the disk in one pipeline: WAITAOF speaks of what its own connection wrote, and of nothing else.

        If the connection breaks, redis-py sends both again, together; it never sends the question alone.
        """
        timeout: float = self._connection.connection_pool.connection_kwargs.get("socket_timeout") or DISK_TIMEOUT
        pipeline = self._connection.pipeline(transaction=False)
        pipeline.eval(_APPEND, len(self._keys), *self._keys, *arguments)
        pipeline.execute_command("WAITAOF", 1, 0, int(1000 * min(DISK_TIMEOUT, 0.8 * timeout)))  # type: ignore[no-untyped-call]
        appended, synced = pipeline.execute(raise_on_error=False)
        if isinstance(appended, Exception):
            raise appended
        if appended[0]:
            self._check_disk(synced, len(arguments) // 2)
        return int(appended[0]), int(appended[1])

    def _check_disk(self, answer: Any, entries: int) -> None:
        """Raise NotOnDisk if WAITAOF's answer does not say that the disk has what was appended."""
        if isinstance(answer, Exception):
            text = str(answer)
            if "appendonly is disabled" in text:
                raise NotOnDisk(entries, "appendonly is no there, set it to yes", never=True)
            if "unknown command" not in text:
                raise NotOnDisk(entries, f"Redis refused to tell ({text})", never=True)
            if not self._always_syncs():
                raise NotOnDisk(entries, "that needs Redis 7.2, or Valkey, or appendfsync always", never=True)
        elif not answer[0]:
            reason = f"Redis did not sync its append-only file within {DISK_TIMEOUT:g} s"
            raise NotOnDisk(entries, reason, never=self._settings("appendfsync").get("appendfsync") in (None, "no"))

    def _always_syncs(self) -> bool:
        """Tell whether this server answers no write before it is on disk; an older one can be asked for nothing else."""
        wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
        return self._settings(*wanted) == wanted

    def _settings(self, *names: str) -> dict[str, str]:
        """Return some of the server's settings; those that it does not tell are missing."""
        found: dict[Any, Any] = {}
        try:
            for name in names:
                found |= self._connection.config_get(name)
        except RedisError:  # not allowed, or gone
            pass
        return {_text(name): _text(value) for name, value in found.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _order(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))


def _why(error: RedisError) -> str:
    if isinstance(error, ResponseError) and ("OOM" in str(error) or "maxmemory" in str(error)):
        return "Redis is full (maxmemory reached): give it more memory, or wait until the workers have accepted some"
    return why(error)
