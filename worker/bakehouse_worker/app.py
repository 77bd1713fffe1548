"""The Celery application: queues, settings of the rim, the beat schedule. Nothing else.

A message is only a doorbell with ids in it. It is acknowledged early: losing one costs a tick, doubling one costs nothing, because
every action behind it is a compare-and-set on a row. There is no result backend, no countdown and no ETA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from kombu import Queue

if TYPE_CHECKING:
    from bakehouse_worker.broker import Broker

CONTROL, TRANSFER, DELIVER = "control", "transfer", "deliver"
QUEUES = (CONTROL, TRANSFER, DELIVER)

ROUTES = {
    "bakehouse.tick": CONTROL,
    "bakehouse.relay": CONTROL,
    "bakehouse.accept": CONTROL,
    "bakehouse.chunk": CONTROL,
    "bakehouse.settle": CONTROL,
    "bakehouse.submit": TRANSFER,
    "bakehouse.poll": TRANSFER,
    "bakehouse.collect": TRANSFER,
    "bakehouse.rescue": TRANSFER,
    "bakehouse.cancel": TRANSFER,
    "bakehouse.prune": TRANSFER,
    "bakehouse.deliver": DELIVER,
}

#: Places in line: downloads and uploads may be many and long, and what is short or frees a lost worker's batch (0) goes before them.
PRIORITY = {"bakehouse.collect": 3, "bakehouse.submit": 6}

app = Celery("bakehouse", include=["bakehouse_worker.tasks"])


def configure(application: Celery) -> None:
    """Read the settings and configure Celery with them; happens once, at first use."""
    from bakehouse.connection import locate
    from bakehouse_worker.broker import broker
    from bakehouse_worker.settings import load

    settings = load()
    found = broker(locate(settings.redis_url, settings.data_dir))
    application.conf.update(_rim(found, settings.redis_prefix, settings.tick))


def _rim(found: Broker, prefix: str, tick: float) -> dict[str, Any]:
    return {
        "broker_url": found.url,
        "broker_use_ssl": found.use_ssl,
        "broker_transport_options": {
            "global_keyprefix": f"{prefix}:celery:",
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "visibility_timeout": 900,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            **found.transport_options,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_default_queue": CONTROL,
        "task_routes": {name: {"queue": queue, "priority": PRIORITY.get(name, 0)} for name, queue in ROUTES.items()},
        "task_acks_late": False,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "worker_prefetch_multiplier": 1,
        "worker_lost_wait": 1.0,  # seconds that a pool process's place stays taken after its death; leases guard its work
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "beat_scheduler": "bakehouse_worker.beat:Scheduler",
        "beat_max_loop_interval": 5.0,  # its heartbeat must not wait for a slow tick
        "beat_enable_remote_control": True,
        "beat_schedule": {
            # without retries: beat must not wait inside a call for a Redis that is away, the next tick is the next try
            "tick": {
                "task": "bakehouse.tick",
                "schedule": tick,
                # and they do not expire, because that compares two hosts' clocks; one tick soon after another does nothing
                "options": {"retry": False},
            },
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
def _begin(**_: object) -> None:
    from bakehouse_worker import worker

    worker.begin()


@signals.worker_process_init.connect
def _forked(**_: object) -> None:
    from bakehouse_worker import worker

    worker.after_fork()


@signals.beat_init.connect
def _listen(sender: Any = None, **_: object) -> None:
    from bakehouse_worker import beat

    beat.listen(sender.scheduler)
