"""The last thing `run` says: what came of it, what it cost, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse_worker.local.progress import age, counted
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import caveats, reading
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.reading import JobView, SpendView


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished job in numbers."""

    job: JobView
    failures: list[tuple[str, int, str, str | None]]
    rejected: list[tuple[str, str]]
    odd: dict[str, int]
    spend: list[SpendView]


def summarise(database: Database, name: str) -> Summary:
    """Read a job's numbers; costs as much as it has failures, not as it has records."""
    job = reading.jobs(database, name)[0]
    return Summary(
        job=job,
        failures=reading.failures(database, job.id) if job.states.get(RecordState.FAILED) else [],
        rejected=reading.rejections(database, name, limit=1) if job.states.get("rejected") else [],
        odd=caveats.of_job(database, job.id),
        spend=reading.spend(database, job.id),
    )


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What came of one file: its lines, how many have an answer, seconds, and where the output is."""

    lines: int
    answered: int
    seconds: float
    output: Path


def told(summary: Summary, outcome: FileOutcome) -> list[str]:
    """Return the summary as lines for a terminal of 80 columns."""
    states, job = summary.job.states, summary.job
    answers = counted(outcome.answered, "answer")
    lines = [f"{counted(outcome.lines, 'record')}, {answers} in {age(outcome.seconds)} (job {job.name})"]
    if job.known != outcome.lines:
        lines.append(f"the job has {counted(job.known, 'record')} in all; what follows is about all of them")
    if summary.odd:
        lines.append("  of these " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(summary.odd.items())))
    if summary.failures:
        lines.append(f"{states.get(RecordState.FAILED, 0):,} failed:")
        for reason, count, custom_id, error in summary.failures:
            lines.append(f"  {count:,} {reason}, such as {_short(custom_id, 40)}: {_short(error or 'no message', 120)}")
    if summary.rejected:
        custom_id, reason = summary.rejected[0]
        lines.append(f"{states['rejected']:,} rejected, such as {_short(custom_id, 40)}: {reason}")
    lines += _money(summary.spend)
    lines.append(f"output: {outcome.output}")
    return lines


def _money(spend: list[SpendView]) -> list[str]:
    if not spend:
        return []
    tokens_in = sum(part.input_tokens + part.cache_write_tokens + part.cache_read_tokens for part in spend)
    tokens_out = sum(part.output_tokens for part in spend)
    lines = [f"{tokens_in:,} tokens in, {tokens_out:,} out"]
    priced = [part for part in spend if part.answers > part.unpriced]
    if priced:
        cost, sync = sum(part.cost for part in priced), sum(part.cost_sync for part in priced)
        lines.append(f"cost {usd(cost)}; synchronous calls would have cost {usd(sync)}")
    for part in spend:
        if part.unpriced:
            lines.append(
                f"  not in that: {counted(part.unpriced, 'answer')} of {part.model}, whose price is unknown here"
            )
    return lines


def usd(amount: float) -> str:
    """Return an amount in US dollars, with as many digits as small amounts need."""
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= 0.0001 else "less than $0.0001"


def _short(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
