"""Commands that look: status, show, check, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse_worker.cli.options import AsJson, DataDir, Job, console, settings, store

if TYPE_CHECKING:
    from bakehouse_worker.doctor import Finding
    from bakehouse_worker.runtime import Runtime


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (status, show, check, doctor):
        app.command()(command)


def status(
    data_dir: DataDir = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again every two seconds, until Ctrl-C; with --json a line each time.")
    ] = False,
    every_job: Annotated[
        bool, typer.Option("--all", "-a", help="List the jobs, too, that are done without trouble.")
    ] = False,
) -> None:
    """What waits and for what, what is in flight and since when, what failed and why, what it cost."""
    from bakehouse_worker import status as telling
    from bakehouse_worker.cli import watching
    from bakehouse_worker.store.database import away

    runtime = store(data_dir)

    def look() -> list[str]:
        try:
            snapshot = telling.take(runtime)
        except Exception as error:
            if not watch or (reason := away(error)) is None:
                raise
            return [] if as_json else [f"the database does not answer now: {reason}"]
        if as_json:
            return [telling.as_json(snapshot, one_line=watch)]
        return telling.told(snapshot, watching.width(), every_job=every_job)

    if watch:
        watching.watch(look, as_json=as_json)
    else:
        print("\n".join(look()))


def show(
    custom_id: Annotated[str, typer.Argument(help="The caller's custom_id.")],
    job: Job = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Everything about one record: where it stands, every sending and what came of it."""
    from bakehouse import ConfigurationError
    from bakehouse_worker import showing
    from bakehouse_worker.store import reading, tombstones

    runtime = store(data_dir)
    found = reading.history(runtime.database, custom_id, job)
    refused = reading.rejections_of(runtime.database, custom_id)
    buried = tombstones.find(runtime.database, custom_id, job)
    pruned = [
        {"custom_id": custom_id, "job": name, "state": stone.state, "pruned_at": stone.pruned_at}
        for name, stone in buried
    ]
    if not (found or refused or pruned):
        where = f" in job {job}" if job else ""
        raise ConfigurationError(
            f"no record {custom_id!r} is known{where}; if it was enqueued just now, it may stand in the inbox"
        )
    if as_json:
        print(showing.as_json(found, refused, pruned))
        return
    for line in showing.told(found, refused, pruned, runtime.database.now()):
        console().print(line, highlight=False, soft_wrap=True, markup=False)


def check(
    data_dir: DataDir = None,
    batch: Annotated[bool, typer.Option(help="Also send one tiny batch (a fraction of a cent) and cancel it.")] = False,
) -> None:
    """Whether key, origin and workspace work; with --batch, whether a batch is taken."""
    from bakehouse_worker import preflight

    settings(data_dir)
    found = preflight.ask()
    console().print(
        f"origin     {found.origin}\nworkspace  {found.workspace or 'not named'}\nkey        accepted", highlight=False
    )
    if batch:
        console().print(f"batch      {preflight.try_a_batch()} taken, and canceled", highlight=False)


def doctor(
    data_dir: DataDir = None,
    as_json: AsJson = False,
    reconcile: Annotated[
        bool,
        typer.Option(help="Also ask the API, and take back from it what a restored database forgot; needs the key."),
    ] = False,
) -> None:
    """Check that every receipt is in exactly one place and that the books agree. Exit code 0: healthy, 1: not."""
    from bakehouse_worker import doctor as checking

    runtime = store(data_dir)
    findings = _reconcile(runtime) if reconcile else []
    findings += checking.examine(runtime)
    if as_json:
        print(checking.as_json(findings))
    else:
        for finding in findings:
            mark = {True: "ok  ", False: "BAD ", None: "?   "}[finding.ok]
            console().print(f"{mark} {finding.check}: {finding.told}", highlight=False, soft_wrap=True, markup=False)
    raise SystemExit(1 if any(finding.ok is False for finding in findings) else 0)


def _reconcile(runtime: Runtime) -> list[Finding]:
    import redis

    from bakehouse import ConfigurationError
    from bakehouse.connection import why
    from bakehouse_worker import log
    from bakehouse_worker.doctor.reconcile import reconcile

    log.configure()
    try:
        return reconcile(runtime)
    except redis.RedisError as error:
        raise ConfigurationError(f"{why(error)}; nothing goes on before Redis answers") from None
