"""What several commands share: the data directory, the console, the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from bakehouse_worker.runtime import Runtime
    from bakehouse_worker.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", "-d", help="Where the store, the embedded Redis and logs are (BAKEHOUSE_DATA_DIR)."),
]
Job = Annotated[str | None, typer.Option("--job", "-j", help="The job's name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings(data_dir: Path | None = None) -> Settings:
    """Read the settings; a data directory on the command line wins."""
    from bakehouse_worker.settings import load

    return load(data_dir=data_dir) if data_dir is not None else load()


def store(data_dir: Path | None) -> Runtime:
    """Open the store for looking: it must exist, nothing is started and nothing migrated."""
    from bakehouse import ConfigurationError
    from bakehouse_worker import schema
    from bakehouse_worker.runtime import make
    from bakehouse_worker.store.database import reach

    runtime = make(settings(data_dir))
    if runtime.database.sqlite and not runtime.settings.sqlite_path.exists():
        raise ConfigurationError(
            f"there is no store in {runtime.settings.data_dir}/ yet: `bakehouse run` or `bakehouse up` makes one"
        )
    reach(runtime.database)
    schema.ensure(runtime.database, auto_migrate=False)
    return runtime


def console(*, stderr: bool = False) -> Console:
    """Return where to print."""
    from rich.console import Console

    return Console(stderr=stderr)


def ask(what: str, yes: bool) -> None:
    """Say what a command will do, and ask whether to go on. Raises ConfigurationError if the answer is no."""
    from bakehouse import ConfigurationError

    console(stderr=True).print(what, highlight=False, soft_wrap=True, markup=False)
    if not yes and not typer.confirm("Go on?", default=False, err=True):
        raise ConfigurationError("nothing was changed")
