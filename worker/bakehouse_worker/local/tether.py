"""Children that outlive no one: on Linux the kernel ends them when their parent dies, however it dies."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def to_parent(number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Return what a child calls between fork and exec so that it dies with its parent; None where there is no such call."""
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def tie_pool_child() -> None:
    """Tie a forked pool process to the worker that forked it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def name_this(name: str) -> None:
    """Give this process a name of its own, at most 15 bytes, for `ps -o comm` and `top`: a fork has its parent's."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
