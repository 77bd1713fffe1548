"""What the store and the inbox run on: the SQLite library, Redis and its settings, entries that stand too long in it."""

from __future__ import annotations

from typing import Any

import redis

from bakehouse import BakehouseError
from bakehouse.connection import why
from bakehouse.contract import GROUP
from bakehouse_worker import epoch, redis_server
from bakehouse_worker.doctor.finding import Finding
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import auditing, holds
from bakehouse_worker.store.database import sqlite_is_fixed

#: Seconds that an entry may stand read and not accepted, as a multiple of LEASE.
STALE = 3.0


def examine(runtime: Runtime) -> list[Finding]:
    """Look at the database's library and at Redis; changes nothing."""
    return [_sqlite(runtime), *_redis(runtime)]


def _sqlite(runtime: Runtime) -> Finding:
    version = auditing.sqlite_version(runtime.database)
    if version is None:
        return Finding("database", True, "is a server")
    fixed = sqlite_is_fixed(tuple(int(part) for part in version.split(".")))
    return Finding(
        "database",
        fixed,
        f"SQLite {version}" + ("" if fixed else " can lose committed pages; pip install 'pysqlite3>=0.6.1'"),
    )


def _redis(runtime: Runtime) -> list[Finding]:
    try:
        server = redis_server.examine(runtime.redis)
        entries = int(runtime.redis.xlen(runtime.keys.inbox))
        held = int(runtime.redis.get(runtime.keys.inbox_bytes) or 0)
        stale = _stale(runtime)
        restored = _restored(runtime)
    except BakehouseError:
        return [Finding("redis", None, "does not run on this data directory now; what it holds is not checked")]
    except redis.RedisError as error:
        return [Finding("redis", False, why(error))]
    unusable = redis_server.unusable(server)
    unwanted = redis_server.policy_loss(server)
    return [
        Finding("redis version", unusable is None, unusable or f"is {server.version or 'not told'}"),
        Finding(
            "redis policy",
            None if server.policy is None else unwanted is None,
            unwanted or f"maxmemory-policy is {server.policy or 'not told'}",
        ),
        _durability(server),
        Finding("inbox", entries > 0 or held == 0, f"{entries:,} entries, {held:,} bytes"),
        stale,
        restored,
    ]


def _stale(runtime: Runtime) -> Finding:
    limit = STALE * runtime.settings.lease
    try:
        found: Any = runtime.redis.xpending_range(
            runtime.keys.inbox, GROUP, min="-", max="+", count=100, idle=int(limit * 1000)
        )
    except redis.ResponseError as error:
        if "NOGROUP" not in str(error):
            raise
        found = []
    if not found:
        return Finding("inbox entries", True, "none was read and left")
    entry = found[0]["message_id"].decode()
    return Finding(
        "inbox entries",
        False,
        f"{entry} was read by a worker more than {limit:,.0f} s ago and is not accepted (and {len(found) - 1} more such); "
        "do control workers and beat run?",
    )


def _restored(runtime: Runtime) -> Finding:
    standing = holds.standing(runtime.database)
    reason = standing.reason if standing is not None and standing.kind == holds.RESTORED else epoch.restored(runtime)
    return Finding("epoch", reason is None, reason or "the database knows all that Redis remembers of it")


def _durability(server: redis_server.RedisServer) -> Finding:
    if server.append_only is None or (server.append_only and server.fsync is None):
        return Finding("redis durability", None, "is not told by this server: see what appendonly and appendfsync are")
    fsync = server.fsync if server.append_only else "never"
    loss = {"always": "nothing", "everysec": "about a second of receipts", "no": "what the kernel had not written"}
    return Finding(
        "redis durability",
        True,
        f"a power cut loses {loss.get(str(fsync), 'everything in the inbox')} (fsync {fsync})",
    )
