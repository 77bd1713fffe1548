"""The main job for a person: a file of requests in, a file of answers out, on one machine, however often it is interrupted.

check the file -> ask the API who we are -> enqueue what is not known yet -> work until every record has its end -> export -> stop
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import orjson
import redis
from rich.console import Console

from bakehouse import ConfigurationError
from bakehouse_worker import export, schema
from bakehouse_worker.local import emulated, jobfile
from bakehouse_worker.local.crew import Crew
from bakehouse_worker.local.feed import feed
from bakehouse_worker.local.home import prepare_home
from bakehouse_worker.local.jobfile import Scan
from bakehouse_worker.local.locks import FileLock
from bakehouse_worker.local.progress import ProgressView, counted, look
from bakehouse_worker.local.stack import Stack
from bakehouse_worker.local.summary import FileOutcome, summarise, told
from bakehouse_worker.preflight import Identity, check_identity
from bakehouse_worker.settings import Settings
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import deadletters, reading, records, schema_stamp, submissions, trials
from bakehouse_worker.store.database import Database, open_database
from bakehouse_worker.store.reading import JobView

#: Seconds between two looks at the job.
LOOK = 0.25
#: Bad lines that are told one by one.
TOLD = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for on the command line."""

    source: Path
    output: Path
    job: str
    limit: int | None = None
    retry_failed: bool = False
    update: bool = False
    skip_bad: bool = False
    emulator: bool = False
    emulator_script: Path | None = None
    canary: int | None = None


def run(options: Options, settings: Settings, console: Console, crew: Crew) -> int:
    """Run a file to its end, by a crew that was called; returns the exit code: 0 all succeeded, 1 some failed.

    Raises ConfigurationError for code 2.
    """
    started = time.monotonic()
    if options.output.exists() and options.source.exists() and options.output.samefile(options.source):
        raise ConfigurationError(f"{options.output} is the input; name another file for the output")
    home = prepare_home(settings.data_dir)
    lock = FileLock(home / "jobs" / f"{blake2b(options.job.encode(), digest_size=8).hexdigest()}.lock")
    if not lock.take():
        raise ConfigurationError(
            f"another `bakehouse run` is working on job {options.job}; wait for it, or name another with --job"
        )
    with lock:
        export.check_writable(options.output)
        database = open_database(settings.database_url, home / settings.sqlite_path.name)
        with console.status(f"checking {options.source}"):
            found = _scan(options, database, console)
        if _anything_to_do(options, database, found):
            failed = _work(options, settings, found, console, crew)
        else:
            _check_identity(options, database, crew)
            failed = _export(options, database, found)
        outcome = FileOutcome(found.total, found.total - failed, time.monotonic() - started, options.output)
        for line in told(summarise(database, options.job), outcome):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        database.close()
        return 1 if failed else 0


def _scan(options: Options, database: Database, console: Console) -> Scan:
    """Read the file whole; refuse it, with nothing enqueued, unless every line can be sent or may be left out."""

    def known(custom_ids: Sequence[str]) -> dict[str, str]:
        return records.known_digests(database, options.job, custom_ids)

    jobs = reading.jobs(database, options.job) if _has_schema(database) else []
    found = jobfile.scan(options.source, options.job, limit=options.limit, known=known if jobs else None)
    if found.bad:
        _tell_bad(options, found, console)
    found.others = max(0, (jobs[0].known if jobs else 0) - found.known - len(found.changed))
    if not found.total:
        raise ConfigurationError(f"{options.source} has no lines to send")
    if found.changed and not options.update:
        number, custom_id = found.changed[0]
        raise ConfigurationError(
            f"{options.source}:{number}: custom_id {custom_id!r} is known with another body"
            + (f" (and {len(found.changed) - 1:,} more)" if len(found.changed) > 1 else "")
            + "; send the new bodies with --update, or use another --job"
        )
    return found


def _tell_bad(options: Options, found: Scan, console: Console) -> None:
    """Name the bad lines; go on without them only if a person said so."""
    for line in found.bad[:TOLD]:
        console.print(f"{options.source}:{line.number}: {line.reason}", soft_wrap=True, highlight=False, markup=False)
    if len(found.bad) > TOLD:
        console.print(f"... and {counted(len(found.bad) - TOLD, 'more bad line')}", highlight=False)
    bad = counted(len(found.bad), "bad line")
    if not options.skip_bad:
        raise ConfigurationError(f"{bad} in {options.source}, so nothing was sent; mend, or leave out with --skip-bad")
    console.print(f"left out: {bad}", highlight=False)


def _has_schema(database: Database) -> bool:
    path = database.engine.url.database if database.sqlite else None
    return (path is None or Path(path).exists()) and schema_stamp.read(database) == schema.HEAD


def _check_identity(options: Options, database: Database, crew: Crew) -> None:
    """Refuse, before anything is enqueued, a key that does not work and an origin or workspace that is not this store's.

    The emulator is our own, and is not asked.
    """
    if options.emulator:
        return
    try:
        answer = orjson.loads(crew.answer())
    except orjson.JSONDecodeError:
        raise ConfigurationError("the API could not be asked who we are; `bakehouse check` tells more") from None
    if "error" in answer:
        raise ConfigurationError(answer["error"])
    check_identity(submissions.identity(database), Identity(answer["origin"], answer["workspace"]))


def _anything_to_do(options: Options, database: Database, found: Scan) -> bool:
    """Tell whether servers are needed at all: a finished job run again only writes its output."""
    if found.new or found.changed or not _has_schema(database):
        return True
    jobs = reading.jobs(database, options.job)
    unfinished = not jobs or jobs[0].ended < jobs[0].known
    return unfinished or (options.retry_failed and bool(jobs[0].states.get("failed")))


def _work(options: Options, settings: Settings, found: Scan, console: Console, crew: Crew) -> int:
    """Let the workers work on a file until it has its end, and write the output; returns how many lines did not succeed."""
    extra = (lambda home: emulated.child(home, options.emulator_script)) if options.emulator else None
    try:
        check = partial(_check_identity, options, crew=crew)
        with Stack(settings, extra=extra, crew=crew, check=check) as stack, ProgressView(console) as view:
            view.say(f"enqueueing, while the workers start; their logs are in {stack.home}/logs")
            if found.new or found.changed:
                lines = jobfile.lines(found, options.job, limit=options.limit, replace=options.update)
                fresh = not (found.known or found.changed)
                feed(stack, options.job, lines, found.total + found.others, options.canary, fresh=fresh)
            if options.retry_failed:
                deadletters.requeue_failed(stack.runtime.database, options.job)
            _wait(options, found, stack, view)
            stack.dismiss()
            return _export(options, stack.runtime.database, found)
    except KeyboardInterrupt:
        console.print(
            "stopped. What is at the API goes on there; the same command again goes on here, and sends nothing twice",
            soft_wrap=True,
            highlight=False,
        )
        raise


def _wait(options: Options, found: Scan, stack: Stack, view: ProgressView) -> None:
    """Tend the stack until every record of the job has its end."""
    while True:
        stack.tend()
        moment = look(stack.runtime.database, options.job, found.total, _inbox(stack))
        if moment is not None:
            view.show(moment)
            if moment.job.ended >= moment.job.known:
                return
            _end_if_stuck(stack.runtime.database, moment.job)
        time.sleep(LOOK)


def _end_if_stuck(database: Database, job: JobView) -> None:
    """End the command when all that is left of the job waits for a person."""
    if not job.states.get(RecordState.PENDING) or job.states.get(RecordState.PACKED):
        return
    if found := trials.stuck(database, job.id):
        left = counted(job.states[RecordState.PENDING], "record")
        why = f"{found[0].what} {found[0].name} is parked: {found[0].reason}"
        go_on = (
            f"`bakehouse resume --{found[0].what} {shlex.quote(found[0].name)}`, then this command again, sends them"
        )
        raise ConfigurationError(f"{left} not sent, because {why}; if that is well, {go_on}")


def _inbox(stack: Stack) -> int | None:
    """Return how many entries wait in the inbox; None while Redis is away (it is being restarted, or changes hands)."""
    try:
        return int(stack.runtime.redis.xlen(stack.runtime.keys.inbox))
    except redis.RedisError:
        return None


def _export(options: Options, database: Database, found: Scan) -> int:
    """Write the output in input order; returns how many lines did not succeed."""
    job = reading.jobs(database, options.job)[0]
    failed = 0
    with export.whole_file(options.output) as file:
        for line, succeeded in export.in_order(
            database, job.id, options.job, jobfile.custom_ids(found, limit=options.limit)
        ):
            failed += not succeeded
            file.write(line)
    return failed
