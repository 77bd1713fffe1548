"""The limit on calls per minute: a token bucket on the emulated clock, one for each workspace."""

from __future__ import annotations


class Meter:
    """Counts calls. A limit of 0 lets everything pass and shows the Start tier's figure in the headers."""

    SHOWN = 1_000

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, workspace: str, *, now: float, per_minute: int) -> tuple[bool, int, int, float]:
        """Take one call. Returns whether it may pass, the limit, what remains of it, and when it is whole again."""
        if per_minute == 0:
            return True, self.SHOWN, self.SHOWN - 1, now
        level, since = self._buckets.get(workspace, (float(per_minute), now))
        level = min(per_minute, level + (now - since) * per_minute / 60)
        passes = level >= 1
        level -= passes
        self._buckets[workspace] = (level, now)
        return passes, per_minute, int(level), now + (per_minute - level) * 60 / per_minute
