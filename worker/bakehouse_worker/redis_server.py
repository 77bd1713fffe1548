"""What a Redis of one's own is and can lose: told by INFO, which managed servers allow, and by CONFIG only where that is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from bakehouse import ConfigurationError
from bakehouse.connection import is_refused, why

#: XAUTOCLAIM, which acceptance needs, and ZRANGE ... BYSCORE REV, which kombu needs, came with it.
OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server as it describes itself. None: it does not say, or does not allow the question. `fsync` is its appendfsync.

    `mode` is standalone, cluster or sentinel.
    """

    version: str | None
    policy: str | None
    append_only: bool | None
    fsync: str | None
    replica: bool
    mode: str


def examine(connection: redis.Redis) -> RedisServer:
    """Ask a server what it is. Raises redis.RedisError if it does not answer, or does not allow INFO."""
    told: dict[str, Any] = connection.info()
    append_only = _flag(told, "aof_enabled")
    return RedisServer(
        version=str(told["redis_version"]) if "redis_version" in told else None,
        policy=told.get("maxmemory_policy"),
        append_only=append_only,
        fsync=_appendfsync(connection) if append_only else None,
        replica=told.get("role") == "slave",
        mode="cluster" if _flag(told, "cluster_enabled") else str(told.get("redis_mode", "standalone")),
    )


def unusable(server: RedisServer) -> str | None:
    """Return why Bakehouse cannot work with this server, in one sentence; None if it can."""
    numbers = tuple(int(part) for part in (server.version or "").split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        return f"Redis {server.version} is too old: Bakehouse and Celery need 6.2 or later (or Valkey)"
    if server.mode == "cluster":
        return "BAKEHOUSE_REDIS_URL names a Redis Cluster, which Celery cannot use: name a Redis without cluster mode"
    if server.mode == "sentinel":
        return "BAKEHOUSE_REDIS_URL names a Sentinel as if it were a Redis: write redis+sentinel://HOST:26379/SERVICE"
    return None


def policy_loss(server: RedisServer) -> str | None:
    """Return what the server's eviction can lose and what to set, in one sentence; None if nothing, or if it is not told."""
    if server.policy in (None, "noeviction"):
        return None
    lost = (
        "when Redis is full it drops what has an expiry, though not the inbox"
        if str(server.policy).startswith("volatile-")
        else "when Redis is full it drops keys, the inbox with all its records among them"
    )
    return f"maxmemory-policy is {server.policy}: {lost}; set noeviction"


def durability_loss(server: RedisServer) -> str | None:
    """Return what a crash of the server loses beyond a second of receipts and what to set; None if not more, or if not told."""
    if server.append_only is False:
        return (
            "appendonly is no: when Redis stops or crashes, the records in the inbox since its last snapshot are lost; "
            "set appendonly yes, and appendfsync always or everysec"
        )
    if server.fsync == "no":
        return "appendfsync is no: a power cut loses what the kernel had not written; set always or everysec"
    return None


def check_at_start(connection: redis.Redis, log: Any) -> None:
    """Raise ConfigurationError for a server that cannot work; log a warning for each thing that can lose records.

    A server that does not answer is no error: a worker waits for its broker. `log` is a structlog logger.
    """
    try:
        server = examine(connection)
    except redis.RedisError as error:
        if is_refused(error):
            raise ConfigurationError(why(error)) from None
        log.warning("redis not checked", reason=why(error))
        return
    if reason := unusable(server):
        raise ConfigurationError(reason)
    if server.replica:
        log.warning("redis", reason="BAKEHOUSE_REDIS_URL names a replica, which takes no writes; name the master")
    for reason in (policy_loss(server), durability_loss(server)):
        if reason:
            log.warning("redis", reason=reason)


def _appendfsync(connection: redis.Redis) -> str | None:
    try:
        found: dict[Any, Any] = connection.config_get("appendfsync")
    except redis.ResponseError:  # renamed, or not allowed to this user
        return None
    value = found.get("appendfsync", found.get(b"appendfsync"))
    return value.decode() if isinstance(value, bytes) else value


def _flag(told: dict[str, Any], name: str) -> bool | None:
    return bool(told[name]) if name in told else None
