"""Waiting for something that may never answer, such as a database of somebody else's, only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Outcome(Generic[T]):
    value: list[T]
    error: BaseException | None = None


class Patience:
    """Runs calls in a thread of their own and waits for each at most so long. One that hangs is left behind, and no other begins."""

    def __init__(self) -> None:
        self._hanging: threading.Thread | None = None

    def within(self, seconds: float, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises. Raises TimeoutError; the call may still come to its end."""
        if self._hanging is not None and self._hanging.is_alive():
            raise TimeoutError("an earlier try has not come to its end yet")
        outcome: _Outcome[T] = _Outcome([])

        def run() -> None:
            try:
                outcome.value.append(call())
            except BaseException as error:
                outcome.error = error

        self._hanging = threading.Thread(target=run, name="patience", daemon=True)
        self._hanging.start()
        self._hanging.join(seconds)
        if outcome.error is not None:
            raise outcome.error
        if not outcome.value:
            raise TimeoutError(f"not within {seconds:g} s")
        return outcome.value[0]
