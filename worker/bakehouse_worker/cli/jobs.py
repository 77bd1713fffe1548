"""Commands that move records: run, demo, enqueue, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bakehouse_worker.cli.options import DataDir, Job, console, settings, store

DEMO_DIR = Path(".bakehouse-demo")

Canary = Annotated[
    int | None, typer.Option("--canary", min=1, help="Send so many first; their results decide about the rest.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (run, demo, enqueue, export):
        app.command()(command)


def run(
    source: Annotated[Path, typer.Argument(metavar="INPUT.jsonl", help='One {"custom_id", "params"} a line.')],
    output: Annotated[Path, typer.Option("--output", "-o", help="One line per input, in input order.")],
    job: Job = None,
    data_dir: DataDir = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send the first N lines only.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Send the job's failed records again.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Send new bodies under known custom_ids.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines that cannot be sent.")] = False,
    emulator: Annotated[bool, typer.Option("--emulator", help="Against the emulator: no key, no bill.")] = False,
    canary: Canary = None,
) -> None:
    """Send a file of requests and write a file of answers. Interrupted, the same command goes on.

    Exit code 0: all succeeded; 1: some failed and are in the output with their error; 2: usage or configuration.
    """
    from bakehouse_worker.local import emulated
    from bakehouse_worker.local.crew import called
    from bakehouse_worker.local.home import prepare_home

    home = prepare_home(settings(data_dir).data_dir)
    if emulator:
        emulated.use(home)
    with called(home, asking=not emulator) as crew:  # it imports what it needs while this process does
        from bakehouse_worker.local import jobfile
        from bakehouse_worker.local.run import Options
        from bakehouse_worker.local.run import run as work

        options = Options(
            source=source,
            output=output,
            job=job or jobfile.default_job(source),
            limit=limit,
            retry_failed=retry_failed,
            update=update,
            skip_bad=skip_bad,
            emulator=emulator,
            canary=canary,
        )
        raise SystemExit(work(options, settings(data_dir), console(), crew))


def demo(
    records: Annotated[int, typer.Option(min=10, help="How many records.")] = 2_400,
    data_dir: Annotated[Path, typer.Option("--data-dir", "-d", help="Emptied at the start.")] = DEMO_DIR,
) -> None:
    """Run reviews and tickets through the whole system against the emulator: no key, no bill."""
    from bakehouse_worker.local.demo import demo as show

    raise SystemExit(show(data_dir, records, console()))


def enqueue(
    source: Annotated[Path, typer.Argument(metavar="INPUT.jsonl", help='One {"custom_id", "params"} a line.')],
    job: Job = None,
    data_dir: DataDir = None,
    close: Annotated[bool, typer.Option(help="Say that the job is complete with these records.")] = True,
    canary: Canary = None,
) -> None:
    """Put a file's records into the inbox of a running system, and leave."""
    from bakehouse import Client, ConfigurationError
    from bakehouse_worker.local import jobfile

    wanted = settings(data_dir)
    name = job or jobfile.default_job(source)
    found = jobfile.scan(source, name, limit=None, known=None)
    if found.bad:
        first = found.bad[0]
        more = f" (and {len(found.bad) - 1:,} more)" if len(found.bad) > 1 else ""
        raise ConfigurationError(f"{source}:{first.number}: {first.reason}{more}; nothing was enqueued")
    client = Client(
        wanted.redis_url or None,
        data_dir=wanted.data_dir,
        prefix=wanted.redis_prefix,
        max_inbox_bytes=wanted.max_inbox_bytes,
    )
    if canary:
        client.send_ahead(name, canary)
    count = client.append(jobfile.lines(found, name, limit=None))
    if close:
        client.close(name, expected=count)
    console().print(f"{count:,} records enqueued as job {name}", highlight=False)


def export(
    job: Annotated[str, typer.Option("--job", "-j", help="The job's name.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; without it, standard output.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="jsonl (results as the API has them) or csv.")] = "jsonl",
    status: Annotated[
        list[str] | None, typer.Option("--status", "-s", help="Only succeeded, failed or canceled; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only what ended then or later: 90m, 12h, 7d, or 2026-11-21T18:00.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on, as answers come, until the job is closed and done.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write the answers of a job that have come so far, in the order of acceptance; with --follow, in the order of their ends."""
    from bakehouse import ConfigurationError
    from bakehouse_worker import exporting
    from bakehouse_worker.store import reading

    database = store(data_dir).database
    wanted = exporting.options(form, status or [], since, follow=follow, output=output, now=database.now())
    jobs = reading.jobs(database, job)
    if not jobs and not follow:
        names = ", ".join(found.name for found in reading.jobs(database)) or "none yet"
        raise ConfigurationError(f"no job {job!r} is known; there are: {names}")
    if output is None:
        exporting.write(database, job, wanted, sys.stdout.buffer)
        return
    written = exporting.write_file(database, job, wanted, output)
    console().print(f"{written:,} of {jobs[0].known:,} records in {output}", highlight=False)
