"""A time limit on somebody else's code: first an exception inside of it, then the end of the process.

The exception is raised by a timer of the kernel's in the main thread, where Celery's pool processes run their tasks. Code that does
not let it through (it waits inside a C library, or catches everything) is ended with its process by faulthandler's watchdog, which
needs no Python to run and writes where the code stood: files and lines, no values.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Seconds between the exception and the end of the process, at least and at most.
GRACE, LATEST = 5.0, 6.0
#: Where faulthandler writes: the process's own standard error, whatever `sys.stderr` has become.
STDERR = 2


class TimedOut(KeyboardInterrupt):
    """The code took longer than its limit. No Exception, so that a handler's own `except Exception` lets it through.

    Libraries take it for Ctrl-C and clean up as they do then: psycopg cancels its query on the server, where it would run on with
    its locks and be waited for without a limit; asyncio lets it out of its loop at once.
    """


class Watchdog:
    """Ends the process some seconds after a limit. It stays armed over calls that follow each other, because to arm it takes a thread.

    Whoever has it calls it off before work of another kind: its limit is the calls' alone. Leaving it as a context does so too.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.off()

    def watch(self, seconds: float) -> None:
        """End the process if it is not called off within a limit of so many seconds, and GRACE to LATEST more."""
        now = time.monotonic()
        if not seconds + GRACE <= self._until - now <= seconds + LATEST:
            faulthandler.dump_traceback_later(seconds + LATEST, exit=True, file=STDERR)
            self._until = now + seconds + LATEST

    def off(self) -> None:
        """Call it off."""
        if self._until:
            faulthandler.cancel_dump_traceback_later()
            self._until = 0.0


@contextmanager
def limited(seconds: float, watchdog: Watchdog) -> Iterator[None]:
    """Let the code within run for at most so many seconds. Outside the main thread only the end of the process is left.

    The watchdog is armed still when the code has ended.
    """
    main = threading.current_thread() is threading.main_thread()
    before, left, over = None, 0.0, False

    def ring(_number: int, _frame: FrameType | None) -> None:
        if not over:
            raise TimedOut

    watchdog.watch(seconds)
    try:
        if main:
            before = signal.signal(signal.SIGALRM, ring)
            left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            over = True  # the code has ended: an alarm from here on must not keep the timer from being put back
    finally:
        if main:
            signal.setitimer(signal.ITIMER_REAL, left)  # 0.0: none was running
            signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
