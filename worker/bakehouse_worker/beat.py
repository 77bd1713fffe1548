"""Beat, the clock: it rings for `tick` and knows nothing else. Two of them are waste, never harm."""

from __future__ import annotations

import signal
import time
from typing import Any

from celery import beat

from bakehouse_worker.health import Pulse
from bakehouse_worker.log import logger
from bakehouse_worker.settings import load

#: Seconds by which the clock must jump before it counts as set.
STEP = 1.0

log = logger("beat")


class Scheduler(beat.Scheduler):
    """Celery's scheduler without a file, because ticks need no memory; with a heartbeat, and one line when Redis is away."""

    stopping = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._pulse = Pulse(load().data_dir, "beat")
        self._offset = _offset()  # before Celery makes its plan
        super().__init__(*arguments, **options)
        if not options.get("lazy"):  # a lazy one is made for the banner alone
            self._pulse.start()

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Send what is due; returns the seconds until something is."""
        if self.stopping:
            raise SystemExit(0)
        self._pulse.mark()
        self._keep_time()
        pause: float = super().tick(*arguments, **options)
        return pause

    def _keep_time(self) -> None:
        """Count anew when the machine's clock was set: Celery's plan is in its hours, and set back, it would rest until then."""
        offset = _offset()
        if abs(offset - self._offset) > STEP:
            log.warning("the clock was set", seconds=round(offset - self._offset))
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self._heap = None
        self._offset = offset

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Ring. What cannot be sent now is due again at the next tick."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # whatever it is, the clock goes on
            self._pulse.waiting()
            log.warning("cannot ring", entry=entry.name, reason=type(error.__cause__ or error).__name__)
        else:
            self._pulse.working()

    def close(self) -> None:
        """End as it should."""
        super().close()
        self._pulse.stop()


def _offset() -> float:
    return time.time() - time.monotonic()


def listen(scheduler: Scheduler) -> None:
    """End at SIGTERM or SIGINT, at the latest at the next tick: an exception out of a signal's handler may be swallowed on its way."""

    def stop(_number: int, _frame: object) -> None:
        scheduler.stopping = True
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
