"""Station 7, the last: hand each outcome to the application's own code. At least once, with a stable delivery id.

Users' code may fail, hang or crash, so this station has a process of its own, and nothing that happens here bills anything again. What
fails is tried again with backoff, alone, and is a dead letter of its own in the end. A call that takes too long is ended; its sink
rests for a while, so that the others come before it. What was in hand when the process ended is taken over one by one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bakehouse_worker import outcomes, retry, sinks
from bakehouse_worker.limit import LATEST, TimedOut, Watchdog, limited
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.sinks import Sink
from bakehouse_worker.store import deliveries, transactional
from bakehouse_worker.store.deliveries import Key, Parcel

#: Outcomes per turn, and of those whose worker was lost.
SPAN, LOST = 1_000, 20
#: Seconds of a lease beyond the longest call, so that not every call has to prolong it.
SPARE = 10.0
#: Seconds after which what a sink took is written down; within them, quick handlers wait for no disk.
MARK_EVERY = 0.25

log = logger("deliver")


@dataclass(slots=True)
class Tried:
    """What became of a span of outcomes; `reason` is the type of a handler's error."""

    delivered: int = 0
    failed: int = 0
    reason: str | None = None


@dataclass
class Turn:
    """One claim: the parcels in hand, until when they are leased, and what was taken of them and is not written down yet.

    The watchdog is for the calls: it is off while anything is written.
    """

    runtime: Runtime
    tried: Tried
    hand: dict[Key, Parcel]
    lease: float
    watchdog: Watchdog
    taken: list[Key] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)

    def hold(self, seconds: float) -> None:
        """Lease what is in hand for so long at least. What somebody took over, or withdrew, is in hand no more."""
        database = self.runtime.database
        if not database.sqlite:
            self.watchdog.off()  # the time is asked for over the network
        if self.hand and self.lease < database.now() + seconds + LATEST:
            self.write()
            self.lease, held = deliveries.renew(database, list(self.hand), self.lease, _hold(self.runtime, seconds))
            self.hand = {key: self.hand[key] for key in held}

    def took(self, keys: Sequence[Key]) -> None:
        """Note that a sink took these."""
        self.taken += keys
        self.tried.delivered += len(keys)
        if time.monotonic() - self.written > MARK_EVERY:
            self.write()

    def write(self) -> None:
        """Write down what was taken."""
        self.watchdog.off()
        deliveries.delivered(self.runtime.database, self.taken)
        self.taken.clear()
        self.written = time.monotonic()

    def end(self) -> None:
        """Write down what was taken, and give back what was not tried."""
        self.write()
        deliveries.hand_back(self.runtime.database, list(self.hand), self.lease)


def deliver(runtime: Runtime) -> Tried:
    """Deliver what is due: a span that nobody had in hand, and then some of what lost workers had."""
    tried = Tried()
    hold = _hold(runtime, runtime.settings.deliver_timeout)
    _hand_over(runtime, deliveries.claim(runtime.database, SPAN, hold, runtime.resting.names()), tried)
    for _ in range(LOST):
        lost = None
        if not runtime.stopping():
            lost = deliveries.claim_lost(runtime.database, hold, runtime.settings.max_attempts, runtime.resting.names())
        if lost is None:
            break
        log.warning("taken over from a lost worker", record=lost.row.record_id, attempts=lost.attempts)
        _hand_over(runtime, [lost], tried)
        if lost.sink not in runtime.resting.names():  # whatever came of it, it ended no worker
            deliveries.let_go(runtime.database, lost.sink)
    if tried.delivered or tried.failed:
        log.info("delivered", outcomes=tried.delivered, failed=tried.failed)
    return tried


def _hold(runtime: Runtime, seconds: float) -> float:
    """Return for how long to lease what calls of so many seconds are made for: no process outlives its call by more than LATEST."""
    return max(runtime.settings.lease, seconds + LATEST + SPARE)


def _hand_over(runtime: Runtime, parcels: Sequence[Parcel], tried: Tried) -> None:
    if not parcels:
        return
    by_sink: dict[str, list[Parcel]] = {}
    for parcel in parcels:
        by_sink.setdefault(parcel.sink, []).append(parcel)
    with Watchdog() as watchdog:
        turn = Turn(runtime, tried, {parcel.key: parcel for parcel in parcels}, parcels[0].lease, watchdog)
        for name, group in by_sink.items():
            turn.hold(runtime.settings.deliver_timeout)
            if sink := _sink(turn, name, group):
                _to_sink(turn, sink, name, group)
        turn.end()


def _to_sink(turn: Turn, sink: Sink, name: str, group: Sequence[Parcel]) -> None:
    """Hand a group over, until this worker is to stop or the sink rests."""
    runtime = turn.runtime
    seconds = sink.terms.timeout or runtime.settings.deliver_timeout
    for part in _calls(sink, group):
        if runtime.stopping() or name in runtime.resting.names():
            break
        turn.hold(seconds)
        if held := [parcel for parcel in part if parcel.key in turn.hand]:
            _call(turn, sink, held, seconds)


def _sink(turn: Turn, name: str, group: Sequence[Parcel]) -> Sink | None:
    """Return what a group is for; None, and the group has failed, if it cannot be imported. An import may raise, leave or hang."""
    settings = turn.runtime.settings
    try:
        with limited(settings.deliver_timeout, turn.watchdog):
            return sinks.find(name, settings.celery_app)
    except TimedOut:
        turn.runtime.resting.rest(name, settings.deliver_timeout)
        _failed(turn, group, TimeoutError(f"its import took longer than {settings.deliver_timeout:g} s"))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _failed(turn, group, error)
    return None


def _calls(sink: Sink, parcels: Sequence[Parcel]) -> Iterator[Sequence[Parcel]]:
    """Yield what one call hands over. What failed before comes alone: nobody else fails with it, and it is known by name."""
    fresh = [parcel for parcel in parcels if not parcel.attempts] if sink.terms.spans else []
    if fresh:
        yield fresh
    yield from ([parcel] for parcel in parcels if parcel.attempts or not sink.terms.spans)


def _call(turn: Turn, sink: Sink, part: Sequence[Parcel], seconds: float) -> None:
    """Hand one outcome, or a span of them, over."""
    resting, name = turn.runtime.resting, part[0].sink
    try:
        if sink.terms.transaction:
            _take_with_mark(turn, sink, part, seconds)
        else:
            with limited(seconds, turn.watchdog):
                sink.take([outcomes.outcome(parcel.row, turn.runtime.installation) for parcel in part])
            turn.took([parcel.key for parcel in part])
    except TimedOut:
        resting.rest(name, seconds)
        _failed(turn, part, TimeoutError(f"took longer than {seconds:g} s"))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # asyncio's CancelledError and SystemExit are no Exceptions
        _failed(turn, part, error)
    else:
        resting.well(name)
    for parcel in part:
        turn.hand.pop(parcel.key, None)


def _take_with_mark(turn: Turn, sink: Sink, part: Sequence[Parcel], seconds: float) -> None:
    """Commit what the handler writes together with the mark, or neither. What somebody else delivered meanwhile is left out."""
    turn.watchdog.off()
    with transactional.with_mark(turn.runtime.database, [parcel.key for parcel in part]) as (session, mine):
        told = [outcomes.outcome(parcel.row, turn.runtime.installation) for parcel in part if parcel.key in mine]
        if told:
            with limited(seconds, turn.watchdog):
                sink.take(told, session)
            turn.watchdog.off()  # the commit has time
    turn.tried.delivered += len(told)


def _failed(turn: Turn, parcels: Sequence[Parcel], error: BaseException) -> None:
    """Note what failed: again after backoff, or for good. Its text is kept for people; logs and tasks get the type alone."""
    turn.watchdog.off()
    database, limits, dice = turn.runtime.database, turn.runtime.limits, turn.runtime.dice
    reason = type(error).__name__
    told = _text(error)
    most = math.inf if sinks.is_away(parcels[0].sink, error) else limits.max_attempts
    over = [parcel for parcel in parcels if parcel.attempts + 1 >= most]
    rest = [parcel for parcel in parcels if parcel.attempts + 1 < most]
    deliveries.failed(database, [parcel.key for parcel in over], told)
    delays = [retry.backoff(parcel.attempts, limits, dice()) for parcel in rest]
    deliveries.again(database, [parcel.key for parcel in rest], delays, told)
    for parcel in parcels:
        turn.hand.pop(parcel.key, None)
        log.warning("delivery failed", record=parcel.row.record_id, attempts=parcel.attempts + 1, reason=reason)
    turn.tried.failed += len(parcels)
    turn.tried.reason = reason


def _text(error: BaseException) -> str:
    """Return what an error says, as any database takes it: without NUL and lone surrogates, and whatever its own text raises."""
    try:
        told = f"{type(error).__name__}: {error}"[:2_000]
    except Exception:
        told = type(error).__name__
    return told.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
