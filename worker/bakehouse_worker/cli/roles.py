"""Commands that stay: up, worker, beat, emulator, and migrate before them."""

from __future__ import annotations

import os
import socket
import sys
import time
from importlib.util import find_spec
from typing import Annotated

import typer

from bakehouse import ConfigurationError
from bakehouse.connection import locate
from bakehouse_worker.cli.options import DataDir, console, settings


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (up, worker, beat, flower, health, migrate):
        app.command()(command)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
        emulator
    )


def up(
    data_dir: DataDir = None,
    emulated: Annotated[bool, typer.Option("--emulator", help="Against the emulator: no key, no bill.")] = False,
    flower_port: Annotated[int, typer.Option(min=0, max=65535, help="Flower's port on loopback; 0: no Flower.")] = 5555,
) -> None:
    """Run everything on this machine until Ctrl-C: embedded Redis, workers, beat, Flower."""
    from bakehouse_worker import credentials
    from bakehouse_worker.local import emulated as local_emulator
    from bakehouse_worker.local.home import prepare_home
    from bakehouse_worker.local.stack import Stack

    if emulated:
        local_emulator.use(prepare_home(settings(data_dir).data_dir))
    wanted, screen = settings(data_dir), console()
    credentials.find()
    seen, told = _flower_role(flower_port)
    with Stack(wanted, extra=local_emulator.child if emulated else None, beside=seen) as stack:
        role = (
            "started" if stack.owner else "joined (another command runs the workers; this one takes over when it ends)"
        )
        screen.print(
            f"bakehouse is up on {stack.home}: {role}; logs are in {stack.home}/logs", highlight=False, soft_wrap=True
        )
        if stack.owner:
            screen.print(told, highlight=False, soft_wrap=True, markup=False)
        try:
            while True:
                stack.tend()
                time.sleep(0.5)
        except KeyboardInterrupt:
            screen.print(
                "stopping; what is at the API goes on there, and is collected when bakehouse is up again",
                highlight=False,
                soft_wrap=True,
            )


def _flower_role(port: int) -> tuple[list[tuple[str, list[str]]], str]:
    """Return Flower's role, or none, and what to tell: a port that is taken, or Flower not installed, must not stop the rest."""
    if not port:
        return [], "flower: not wanted"
    if find_spec("flower") is None:
        return [], "flower: not installed; pip install 'bakehouse[flower]'"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return [], f"flower: not started, because port {port} is taken; choose another with --flower-port"
    words = ["flower", "--address", "127.0.0.1", "--port", str(port)]
    return [("flower", words)], f"flower: http://127.0.0.1:{port}"


def worker(
    queues: Annotated[
        str,
        typer.Option("--queues", "-Q", help="control, transfer, deliver, by commas; each gets a process of its own."),
    ] = "control,transfer,deliver",
    concurrency: Annotated[int | None, typer.Option("--concurrency", "-c", min=1, help="Tasks at a time.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run workers for some queues until told to stop; what they hold then is finished or handed back within STOP_GRACE."""
    from bakehouse_worker.app import QUEUES
    from bakehouse_worker.local import workers

    names = [name.strip() for name in queues.split(",") if name.strip()]
    if unknown := [name for name in names if name not in QUEUES]:
        raise ConfigurationError(f"--queues: {unknown[0]!r} is not a queue; there are {', '.join(QUEUES)}")
    _export(data_dir)
    wanted = settings()
    locate(wanted.redis_url, wanted.data_dir)
    if len(names) == 1:
        from bakehouse_worker.worker import start

        start(names[0], concurrency)
    else:
        workers.keep(names or list(QUEUES), concurrency, wanted)


def beat(data_dir: DataDir = None) -> None:
    """Run beat, which rings for due work. Two of them are waste, never harm."""
    from bakehouse_worker.app import app

    _export(data_dir)
    wanted = settings()
    locate(wanted.redis_url, wanted.data_dir)
    app.Beat(loglevel="INFO", quiet=True).run()


def flower(
    address: Annotated[
        str | None, typer.Option("--address", help="Where to listen; beyond loopback set FLOWER_BASIC_AUTH.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Flower's default is 5555.")] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Allow what changes workers and tasks, too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Run Flower: tasks by station and what came of them, workers, and /metrics. Its other options: FLOWER_* variables."""
    from bakehouse_worker import dashboard

    _export(data_dir)
    wanted = settings()
    locate(wanted.redis_url, wanted.data_dir)
    dashboard.start(wanted, address, port, writable=writable)


def health(
    roles: Annotated[
        list[str] | None, typer.Argument(help="control, transfer, deliver, beat, flower; none: all.")
    ] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Ask whether it works, not only whether it lives.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Whether this host's processes live. Exit code 0: all of them; 1: one was lost, hangs, or never started."""
    from bakehouse_worker import health as pulses

    verdicts = pulses.examine(settings(data_dir).data_dir, roles or [])
    for verdict in verdicts:
        print(verdict.told)
    raise SystemExit(0 if all(verdict.ready if ready else verdict.alive for verdict in verdicts) else 1)


def emulator(context: typer.Context) -> None:
    """Run the Message Batches emulator; its own options follow (try --help)."""
    os.execv(sys.executable, [sys.executable, "-m", "bakehouse_emulator", *context.args])  # noqa: S606


def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's schema up to date."""
    from bakehouse_worker import schema
    from bakehouse_worker.local.home import prepare_home
    from bakehouse_worker.runtime import make
    from bakehouse_worker.store.database import reach

    wanted = settings(data_dir)
    prepare_home(wanted.data_dir)
    database = make(wanted).database
    reach(database)
    changed = schema.ensure(database, auto_migrate=True)
    console().print(f"schema {'migrated to' if changed else 'is at'} {schema.HEAD}", highlight=False)


def _export(data_dir: object) -> None:
    """Let the Celery application, which reads the environment, see the command line's data directory."""
    if data_dir is not None:
        os.environ["BAKEHOUSE_DATA_DIR"] = str(data_dir)
