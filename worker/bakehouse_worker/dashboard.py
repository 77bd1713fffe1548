"""Flower, as `bakehouse flower` starts it: on loopback, read-only, with our metrics on its `/metrics`.

Every option of Flower's can be set by its own variables (`FLOWER_BASIC_AUTH`, `FLOWER_PURGE_OFFLINE_WORKERS`, ...): a password
belongs into the environment, never on a command line, where every user of the machine can read it.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import signal
from ipaddress import ip_address
from typing import Any

from bakehouse import ConfigurationError
from bakehouse_worker import health, log
from bakehouse_worker.health import Pulse
from bakehouse_worker.runtime import make
from bakehouse_worker.settings import Settings

#: What differs from Flower's own defaults. Offline workers are forgotten after ten minutes, and tasks beyond 10,000.
DEFAULTS: dict[str, Any] = {
    "address": "127.0.0.1",
    "read_only": True,
    "max_tasks": 10_000,
    "purge_offline_workers": 600,
    "tasks_columns": "name,args,state,result,received,runtime,worker",
}


def start(settings: Settings, address: str | None, port: int | None, *, writable: bool) -> None:
    """Serve until stopped. Raises ConfigurationError, one sentence, if it may not or cannot listen."""
    try:
        from flower.app import Flower
        from flower.command import apply_env_options, extract_settings
        from flower.options import options
        from flower.urls import settings as web
        from prometheus_client import REGISTRY
        from tornado.ioloop import PeriodicCallback
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Flower is not installed ({error.name}): pip install 'bakehouse[flower]'") from None
    from bakehouse_worker.app import app
    from bakehouse_worker.metrics import InstallationCollector

    log.configure()
    for name, value in (DEFAULTS | {"format_task": _readable}).items():
        setattr(options, name, value)
    apply_env_options()
    for name, value in {"address": address, "port": port, "read_only": False if writable else None}.items():
        if value is not None:
            setattr(options, name, value)
    _refuse_open_doors(options)
    extract_settings()
    REGISTRY.register(InstallationCollector(make(settings)))
    asyncio.set_event_loop(asyncio.new_event_loop())
    panel = Flower(capp=app, options=options, **web)
    try:
        listening = panel.start_http_server()
    except OSError as error:
        raise ConfigurationError(
            f"Flower cannot listen on {options.address}:{options.port}: {(error.strerror or 'error').lower()}; choose another --port"
        ) from None
    pulse = Pulse(settings.data_dir, "flower")
    atexit.register(panel.stop)
    atexit.register(pulse.stop)
    signal.signal(signal.SIGTERM, _stop)
    pulse.start()
    pulse.working()
    PeriodicCallback(pulse.mark, health.BEAT * 1000).start()
    log.logger("flower").info("listening", address=options.address, port=listening, read_only=options.read_only)
    panel.start()


def _readable(task: Any) -> Any:
    """Show the reason of a failure or a retry where the list shows results, without the marks of a Python string."""
    told = task.exception if task.state in ("FAILURE", "RETRY") else task.result
    quoted = re.search(r"(['\"])(.*)\1", told or "")
    task.result = quoted[2] if quoted else told
    return task


def _refuse_open_doors(options: Any) -> None:
    """Prompts are never shown, but names, errors and controls are: nobody listens beyond loopback without a password."""
    if options.unix_socket or options.basic_auth or options.auth or _is_loopback(options.address):
        return
    raise ConfigurationError(
        f"Flower would listen on {options.address or 'every address'} without a password: "
        "set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH), or leave it on 127.0.0.1"
    )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _stop(_number: int, _frame: object) -> None:
    raise SystemExit(0)
