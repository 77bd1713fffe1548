"""What every station needs, made once per process: settings, store, Redis, gateway, dice and an owner's name for leases."""

from __future__ import annotations

import mmap
import os
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import redis

from bakehouse.connection import connect, locate
from bakehouse.contract import Keys
from bakehouse_worker.patience import Patience
from bakehouse_worker.retry import Limits
from bakehouse_worker.settings import Settings, load
from bakehouse_worker.store import holds
from bakehouse_worker.store.database import Database, open_database
from bakehouse_worker.store.outbox import Outbox, open_outbox

if TYPE_CHECKING:
    from bakehouse_worker.gateway import Gateway
    from bakehouse_worker.sinks import Resting


@dataclass
class Runtime:
    """The world of one process. Tests make their own; workers take `current()`.

    `dice` is uniform in [0, 1). `stopping` tells that this worker was asked to stop: work in hand is handed back. `looked` is
    set when this process has looked through the API's list for batches that the store should know. `patience` waits for the outbox.
    """

    settings: Settings
    database: Database
    dice: Callable[[], float] = random.random
    stopping: Callable[[], bool] = lambda: False
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}")
    looked: bool = False
    patience: Patience = field(default_factory=Patience)

    @property
    def keys(self) -> Keys:
        """The Redis keys of this installation."""
        return Keys(self.settings.redis_prefix)

    @property
    def limits(self) -> Limits:
        """The settings that `retry.decide` depends on."""
        wanted = self.settings
        return Limits(wanted.max_attempts, wanted.max_expired, wanted.retry_base, wanted.retry_cap)

    @cached_property
    def redis(self) -> redis.Redis:
        """A connection to Redis; replies are bytes."""
        return connect(locate(self.settings.redis_url, self.settings.data_dir))

    @cached_property
    def outbox(self) -> Outbox | None:
        """The application's outbox, if there is one. Raises ConfigurationError for a URL that cannot be used."""
        return open_outbox(self.settings)

    @cached_property
    def gateway(self) -> Gateway:
        """The door to the API. Importing it costs the SDK's 75 MB, so only the transfer process asks for it."""
        from bakehouse_worker.gateway import Gateway

        return Gateway(self.settings.create_timeout)

    @cached_property
    def resting(self) -> Resting:
        """The sinks whose calls took too long in this process."""
        from bakehouse_worker.sinks import Resting

        return Resting()

    @cached_property
    def installation(self) -> str:
        """The 8 hex digits that start our ids on the wire."""
        return holds.installation(self.database)


class StopFlag:
    """Set once, by a worker's main process; seen by the pool processes that it forked since the flag was made."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Ask every process that shares the flag to stop."""
        self._shared[0] = 1

    def __call__(self) -> bool:
        """Tell whether it was set."""
        return self._shared[0] == 1


def make(settings: Settings, stopping: Callable[[], bool] = lambda: False) -> Runtime:
    """Build a runtime from settings; connects to nothing yet."""
    return Runtime(settings, open_database(settings.database_url, settings.sqlite_path), stopping=stopping)


@lru_cache(maxsize=1)
def stop_flag() -> StopFlag:
    """Return this worker's stop flag, made at the first call: before the pool forks."""
    return StopFlag()


@lru_cache(maxsize=1)
def current() -> Runtime:
    """Return this process's runtime, made from the environment at the first call."""
    return make(load(), stop_flag())
