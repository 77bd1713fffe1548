"""What `run` shows while it works: a live view on a terminal, a plain line at intervals elsewhere."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.store import holds, reading
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.reading import BatchView, JobView

#: Seconds between plain lines where there is no terminal.
PLAIN_EVERY = 5.0
#: Seconds of history that the rate is measured over.
RATE_WINDOW = 10.0

#: What people read for a record's state, in the order of its way.
STATES = {
    RecordState.PENDING: "waiting",
    RecordState.PACKED: "in batches",
    RecordState.SUCCEEDED: "succeeded",
    RecordState.FAILED: "failed",
    RecordState.CANCELED: "canceled",
    "rejected": "rejected",
}

IN_FLIGHT = (BatchState.IN_PROGRESS, BatchState.CANCELING)


@dataclass(frozen=True, slots=True)
class Moment:
    """A job at one moment: its counters, the batches of the store, and why something waits."""

    job: JobView
    batches: tuple[BatchView, ...]
    waits: tuple[str, ...]
    total: int
    at: float


def look(database: Database, name: str, total: int, inbox: int | None) -> Moment | None:
    """Read a job's present state; None until acceptance knows the job."""
    found = reading.jobs(database, name)
    if not found:
        return None
    live, now = tuple(reading.live_batches(database)), database.now()
    return Moment(found[0], live, tuple(_waits(database, found[0], live, now, inbox)), total, now)


def _waits(database: Database, job: JobView, live: tuple[BatchView, ...], now: float, inbox: int | None) -> list[str]:
    waits = []
    if inbox is None:
        waits.append("Redis does not answer")
    elif inbox:
        waits.append(f"{inbox:,} in the inbox")
    if held := holds.current(database):
        until = f", next try in {held.until - now:,.0f} s" if held.until else ""
        waits.append(f"submissions paused: {held.reason}{until}")
    if backing_off := reading.next_due(database, job.id):
        count, first = backing_off
        more = "1,000 or more" if count == 1_000 else f"{count:,}"
        waits.append(f"{more} backing off, the first for {max(0.0, first - now):,.0f} s")
    waits += [f"batch {batch.id}: {batch.alarm}" for batch in live if batch.alarm]
    return waits


@dataclass
class ProgressView:
    """Shows moments. Use as a context; `show` may be called as often as one likes."""

    console: Console
    _live: Live | None = None
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _last_plain: float = 0.0

    def __enter__(self) -> ProgressView:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Show what happens before there is a moment to show; on a terminal only."""
        if self._live is not None:
            self._live.update(Text(text))

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        now = time.monotonic()
        self._seen.append((now, moment.job.ended))
        while now - self._seen[0][0] > RATE_WINDOW:
            self._seen.popleft()
        if self._live is not None:
            self._live.update(self._screen(moment))
        elif now - self._last_plain >= PLAIN_EVERY:
            self._last_plain = now
            self.console.print(self.plain(moment), soft_wrap=True, highlight=False)

    def rate(self) -> float:
        """Return records ended per second over the last seconds."""
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    def plain(self, moment: Moment) -> str:
        """Return a moment as one line."""
        parts = [f"{moment.job.ended:,}/{moment.total:,} done", *_states(moment.job)]
        if flying := _in_flight(moment):
            parts.append(flying)
        return " · ".join([*parts, f"{self.rate():,.0f}/s", *moment.waits])

    def _screen(self, moment: Moment) -> Group:
        bar = Table.grid(padding=(0, 1))
        share = moment.job.ended / moment.total if moment.total else 1.0
        bar.add_row(
            ProgressBar(total=max(1, moment.total), completed=moment.job.ended, width=40),
            f"{share:4.0%}",
            f"{moment.job.ended:,} of {moment.total:,}",
            f"{self.rate():,.0f}/s",
        )
        lines = [Text("  ".join(_states(moment.job)) or "starting")]
        if flying := _in_flight(moment):
            lines.append(Text(flying))
        lines += [Text(wait, style="yellow") for wait in moment.waits[:4]]
        return Group(bar, *lines)


def _states(job: JobView) -> list[str]:
    return [f"{job.states[state]:,} {name}" for state, name in STATES.items() if job.states.get(state)]


def _in_flight(moment: Moment) -> str:
    flying = [batch for batch in moment.batches if batch.state in IN_FLIGHT]
    if not flying:
        return ""
    oldest = moment.at - min(batch.since for batch in flying)
    noun = "batch" if len(flying) == 1 else "batches"
    return f"{len(flying)} {noun} at the API, the oldest for {age(oldest)}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 record` or `2,400 records`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def age(seconds: float) -> str:
    """Return a duration as people say it, such as `45 s`, `12 min`, `3.5 h` or `5.5 days`."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 4 * 86_400 else f"{seconds / 86_400:.1f} days"
