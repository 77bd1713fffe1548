"""Notices that the database was restored from a backup, by what Redis remembers of it.

Before the last bytes of every create, a mark grows in the database and then in Redis. Whatever the database forgot, it forgot the
marks too: a Redis that knows a higher one, or another installation, is the proof, and submissions wait until a person has had the
books compared with the API. A Redis that knows nothing proves nothing; `strangers` looks at the API's list for that case.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from bakehouse import BakehouseError
from bakehouse_worker.errors import SendingStopped
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import epochs, holds

#: What to do, the same in every sentence about it.
REMEDY = "run `bakehouse doctor --reconcile`, which takes back from the API what was sent since; then submissions go on"

#: KEYS epoch; ARGV installation, mark. Writes the mark unless a higher one, or another installation's, stands there.
_REMEMBER = """
local held = redis.call('GET', KEYS[1])
if held then
  local name, mark = string.match(held, '^(%x+):(%d+)$')
  if name and (name ~= ARGV[1] or tonumber(mark) > tonumber(ARGV[2])) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2])
return 1
"""

log = logger("epoch")


@dataclass(frozen=True, slots=True)
class Memory:
    """What Redis remembers: an installation, and the highest mark that its database reached."""

    installation: str
    mark: int


def remembered(runtime: Runtime) -> Memory | None:
    """Return what Redis remembers; None if nothing, as after it was flushed. Raises redis.RedisError."""
    held = runtime.redis.get(runtime.keys.epoch)
    name, _, mark = held.decode(errors="replace").partition(":") if isinstance(held, bytes) else ("", "", "")
    return Memory(name, int(mark)) if name and mark.isdecimal() else None


def restored(runtime: Runtime) -> str | None:
    """Say in one sentence why the database cannot be the one that was last used with this Redis; None if it can."""
    installation = runtime.installation  # made now if it is not yet there, so that every copy of the database has it
    memory = remembered(runtime)  # before the database's mark, which is never behind what Redis knew before
    if memory is None:
        return None
    if memory.installation != installation:
        return (
            f"this Redis was last used with the database of installation {memory.installation}, and this is another one "
            f"({installation}): use that database or another BAKEHOUSE_REDIS_PREFIX; if this one is meant, {REMEDY}"
        )
    mark = epochs.mark(runtime.database)
    if memory.mark <= mark:
        return None
    return f"this database was restored from a backup: {memory.mark - mark:,} creates were sent that it does not know; {REMEDY}"


def notice(runtime: Runtime) -> bool:
    """Hold submissions if the database was restored, and note a silence in any case; tells whether they are held for that.

    Raises redis.RedisError.
    """
    standing = holds.standing(runtime.database)
    if standing is not None and standing.kind == holds.RESTORED:
        return True
    epochs.note_silence(runtime.database)
    reason = restored(runtime)
    if reason is None:
        return False
    epochs.note_silence(runtime.database, restored=True)
    hold(runtime, reason)
    return True


def hold(runtime: Runtime, reason: str) -> None:
    """Let submissions wait until the books were compared with the API."""
    holds.hold(runtime.database, holds.RESTORED, reason, None)
    log.error("database restored", reason=reason)


def remember(runtime: Runtime) -> None:
    """Let the mark grow, in the database and then in Redis. Raises SendingStopped if Redis does not take it.

    Called between the commit of `closing` and the last bytes: a copy of the database made before knows less than Redis, one made
    after knows the doubt.
    """
    try:
        if not _tell(runtime, epochs.advance(runtime.database)):
            raise SendingStopped("Redis remembers more than this database does")
    except (redis.RedisError, BakehouseError) as error:
        raise SendingStopped(f"Redis could not note the create ({type(error).__name__})") from None


def rejoin(runtime: Runtime) -> None:
    """Make the database and Redis agree again, and let submissions go on: the books were compared. Raises redis.RedisError."""
    memory = remembered(runtime)
    mark = epochs.rejoin(runtime.database, memory.mark if memory else 0)
    runtime.redis.set(runtime.keys.epoch, f"{runtime.installation}:{mark}")


def _tell(runtime: Runtime, mark: int) -> bool:
    return bool(runtime.redis.eval(_REMEMBER, 1, runtime.keys.epoch, runtime.installation, mark))
