"""The Celery application: queues, settings of the rim, the beat schedule. Nothing else.

A message is only a doorbell with ids in it. It is acknowledged early: losing one costs a tick, doubling one costs nothing, because
every action behind it is a compare-and-set on a row. There is no result backend, no countdown and no ETA.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from celery import Celery, signals
from kombu import Queue

CONTROL, TRANSFER, DELIVER = "control", "transfer", "deliver"
QUEUES = (CONTROL, TRANSFER, DELIVER)

ROUTES = {
    "bakehouse.tick": CONTROL,
    "bakehouse.accept": CONTROL,
    "bakehouse.chunk": CONTROL,
    "bakehouse.settle": CONTROL,
    "bakehouse.submit": TRANSFER,
    "bakehouse.poll": TRANSFER,
    "bakehouse.collect": TRANSFER,
    "bakehouse.rescue": TRANSFER,
    "bakehouse.prune": TRANSFER,
    "bakehouse.deliver": DELIVER,
}

app = Celery("bakehouse", include=["bakehouse_worker.tasks"])


def broker_url(redis_url: str) -> str:
    """Return the URL in kombu's form: a unix socket is spelt differently there."""
    if redis_url.startswith("unix://"):
        return f"redis+socket://{urlsplit(redis_url).path}"
    return redis_url


def start_worker(queues: Sequence[str], concurrency: int | None) -> None:
    """Run a worker of some queues until it is stopped; the same as `celery -A bakehouse_worker.app worker`, started faster.

    Control's tasks are short and share one process. Transfers take minutes and users' code may hang, so those run in processes
    of their own, two transfers at a time unless told otherwise.
    """
    solo = list(queues) == [CONTROL] and concurrency in (None, 1)
    app.Worker(
        queues=list(queues),
        hostname=f"{'-'.join(queues)}@{socket.gethostname()}",
        pool="solo" if solo else "prefork",
        concurrency=1 if solo else concurrency or (1 if list(queues) == [DELIVER] else 2),
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
    ).start()


def configure(application: Celery) -> None:
    """Read the settings and configure Celery with them; happens once, at first use."""
    from bakehouse.inbox import locate
    from bakehouse_worker.settings import load

    settings = load()
    application.conf.update(
        _rim(broker_url(locate(settings.redis_url, settings.data_dir)), settings.redis_prefix, settings.tick)
    )
    application.conf.imports = settings.imports


def _rim(broker: str, prefix: str, tick: float) -> dict[str, Any]:
    return {
        "broker_url": broker,
        "broker_transport_options": {
            "global_keyprefix": f"{prefix}:celery:",
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "visibility_timeout": 900,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_default_queue": CONTROL,
        "task_routes": {name: {"queue": queue} for name, queue in ROUTES.items()},
        "task_acks_late": False,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "beat_scheduler": "celery.beat:Scheduler",  # keeps no file: ticks need no memory
        "beat_schedule": {
            "tick": {"task": "bakehouse.tick", "schedule": tick, "options": {"expires": max(3.0, 3 * tick)}},
        },
        "timezone": "UTC",
    }


@signals.setup_logging.connect
def _log(**_: object) -> None:
    from bakehouse_worker import log

    log.configure()


@app.on_configure.connect
def _configure(sender: Celery | None = None, **_: object) -> None:
    configure(sender or app)


@signals.worker_init.connect
def _import_once(**_: object) -> None:
    """Import the stations before the pool forks, so that its processes share the memory and none of them pays the time."""
    if TRANSFER in app.amqp.queues:
        importlib.import_module("bakehouse_worker.gateway")
    for station in {name.removeprefix("bakehouse.") for name, queue in ROUTES.items() if queue in app.amqp.queues} - {
        "tick"
    }:
        importlib.import_module(f"bakehouse_worker.{station}")


@signals.worker_process_init.connect
def _tie(**_: object) -> None:
    from bakehouse_worker.local import tether

    tether.tie_pool_child()
