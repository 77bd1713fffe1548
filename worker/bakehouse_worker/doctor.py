"""Checks that the books agree: every receipt in exactly one place, counters equal rows, members equal counts, leases in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson
import redis

from bakehouse import BakehouseError
from bakehouse.connection import why
from bakehouse_worker import redis_server
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import auditing
from bakehouse_worker.store.database import sqlite_is_fixed


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether all is well (None: not checked), and what was seen, in one sentence."""

    check: str
    ok: bool | None
    told: str


def examine(runtime: Runtime) -> list[Finding]:
    """Make every check; changes nothing."""
    return [
        _counters(runtime),
        _members(runtime),
        _leases(runtime),
        _without_body(runtime),
        _sqlite(runtime),
        *_redis(runtime),
    ]


def _counters(runtime: Runtime) -> Finding:
    wrong = auditing.counter_differences(runtime.database)
    if not wrong:
        return Finding("counters", True, "equal the rows")
    job, state, counted, rows = wrong[0]
    return Finding(
        "counters", False, f"job {job} counts {counted:,} {state} and has {rows:,} (and {len(wrong) - 1} more such)"
    )


def _members(runtime: Runtime) -> Finding:
    wrong = auditing.member_differences(runtime.database)
    if not wrong:
        return Finding("batches", True, "have the members they say")
    batch, says, has = wrong[0]
    return Finding(
        "batches",
        False,
        f"batch {batch} says {says:,} requests and accounts for {has:,} (and {len(wrong) - 1} more such)",
    )


def _leases(runtime: Runtime) -> Finding:
    late = auditing.late_leases(runtime.database, 3 * runtime.settings.lease)
    if not late:
        return Finding("leases", True, "are in time")
    return Finding(
        "leases", False, f"batch {late[0]} is held past its lease (and {len(late) - 1} more); do workers and beat run?"
    )


def _without_body(runtime: Runtime) -> Finding:
    missing = auditing.unfinished_without_body(runtime.database)
    if not missing:
        return Finding("bodies", True, "are there for all that is unfinished")
    return Finding("bodies", False, f"record {missing[0]} is unfinished and has no body (and {len(missing) - 1} more)")


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
    ]


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


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as JSON."""
    return orjson.dumps([asdict(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode()
