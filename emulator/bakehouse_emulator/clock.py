"""The emulated clock: real time at another speed, plus every step it was told to take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment known on both clocks (Unix seconds), and the speed since then."""

    emulated: float
    real: float
    speed: float


class Clock:
    """Tells the emulated time. A clock built from a stored anchor goes on as if it had never stopped."""

    def __init__(self, speed: float, *, stored: Anchor | None = None, real: Callable[[], float] = time.time) -> None:
        self._real = real
        now = real()
        self.anchor = stored or Anchor(now, now, speed)
        self.set_speed(speed)

    def now(self) -> float:
        """Emulated Unix seconds."""
        anchor = self.anchor
        return anchor.emulated + max(0.0, self._real() - anchor.real) * anchor.speed

    def advance(self, seconds: float) -> float:
        """Jump forward by emulated seconds; returns the new time."""
        self.anchor = Anchor(self.now() + seconds, self._real(), self.anchor.speed)
        return self.anchor.emulated

    def set_speed(self, speed: float) -> None:
        """From here on the clock runs at this many emulated seconds per real second."""
        self.anchor = Anchor(self.now(), self._real(), speed)


def rfc3339(moment: float) -> str:
    """Unix seconds as the API writes times: microseconds and a Z."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
