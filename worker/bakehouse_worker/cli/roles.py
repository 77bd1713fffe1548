"""Commands that stay: up, worker, beat, emulator, and migrate before them."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from bakehouse_worker.cli.options import DataDir, console, settings


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (up, worker, beat, migrate):
        app.command()(command)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
        emulator
    )


def up(
    data_dir: DataDir = None,
    emulated: Annotated[bool, typer.Option("--emulator", help="Against the emulator: no key, no bill.")] = False,
) -> None:
    """Run everything on this machine until Ctrl-C: embedded Redis, workers, beat."""
    from bakehouse_worker import credentials
    from bakehouse_worker.local import emulated as local_emulator
    from bakehouse_worker.local.stack import Stack, prepare_home

    if emulated:
        local_emulator.use(prepare_home(settings(data_dir).data_dir))
    wanted, screen = settings(data_dir), console()
    credentials.find()
    with Stack(wanted, extra=local_emulator.child if emulated else None) as stack:
        role = (
            "started" if stack.owner else "joined (another command runs the workers; this one takes over when it ends)"
        )
        screen.print(
            f"bakehouse is up on {stack.home}: {role}; logs are in {stack.home}/logs", highlight=False, soft_wrap=True
        )
        try:
            while True:
                stack.tend()
                time.sleep(0.5)
        except KeyboardInterrupt:
            screen.print(
                "stopping; what is at the API goes on there, and is collected when bakehouse is up again",
                highlight=False,
            )


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help="control, transfer, deliver, by commas.")
    ] = "control,transfer,deliver",
    concurrency: Annotated[int | None, typer.Option("--concurrency", "-c", min=1, help="Tasks at a time.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run one worker process for some queues."""
    from bakehouse import ConfigurationError
    from bakehouse.connection import locate
    from bakehouse_worker import schema
    from bakehouse_worker.app import QUEUES, start_worker
    from bakehouse_worker.local.locks import FileLock
    from bakehouse_worker.local.stack import WORKERS_LOCK, prepare_home
    from bakehouse_worker.runtime import current

    names = [name.strip() for name in queues.split(",") if name.strip()]
    if unknown := [name for name in names if name not in QUEUES]:
        raise ConfigurationError(f"--queues: {unknown[0]!r} is not a queue; there are {', '.join(QUEUES)}")
    _export(data_dir)
    locate(current().settings.redis_url, current().settings.data_dir)
    lock = FileLock(prepare_home(current().settings.data_dir) / WORKERS_LOCK)
    lock.take(shared=True)
    schema.ensure(current().database, auto_migrate=current().settings.auto_migrate)
    current().database.close()  # pool processes open their own
    start_worker(names, concurrency)


def beat(data_dir: DataDir = None) -> None:
    """Run beat, which rings for due work. Two of them are waste, never harm."""
    from bakehouse.connection import locate
    from bakehouse_worker.app import app

    _export(data_dir)
    wanted = settings()
    locate(wanted.redis_url, wanted.data_dir)
    app.Beat(loglevel="INFO").run()


def emulator(context: typer.Context) -> None:
    """Run the Message Batches emulator; its own options follow (try --help)."""
    os.execv(sys.executable, [sys.executable, "-m", "bakehouse_emulator", *context.args])  # noqa: S606


def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's schema up to date."""
    from bakehouse_worker import schema
    from bakehouse_worker.local.stack import prepare_home
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
