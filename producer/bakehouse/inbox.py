"""The door into Redis: one script that checks the high-water mark and appends entries, all of a call's chunk or none of it.

A replay of the script (redis-py repeats a command whose answer was lost) appends the same entries twice; acceptance knows a
record by (job, custom_id) and digest, so the second copy is the same record and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis
from redis.exceptions import RedisError, ResponseError

from bakehouse.connection import is_read_only, why
from bakehouse.contract import Keys
from bakehouse.errors import InboxFull, InboxUnavailable

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
        except RedisError as error:
            if is_read_only(error):  # the next call connects anew, and may find the master under the same name
                self._connection.connection_pool.disconnect(inuse_connections=False)
            raise InboxUnavailable(_why(error)) from error
        if not done:
            raise InboxFull(int(held), self._max_bytes)


def _why(error: RedisError) -> str:
    if isinstance(error, ResponseError) and ("OOM" in str(error) or "maxmemory" in str(error)):
        return "Redis is full (maxmemory reached): give it more memory, or wait until the workers have accepted some"
    return why(error)
