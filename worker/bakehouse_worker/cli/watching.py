"""`--watch`: the same screen again and again, in its place, until it is interrupted."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence

#: Seconds between two looks.
EVERY = 2.0
#: Terminal codes: to the top left; clear to the end of the line; clear to the end of the screen; clear it whole.
HOME, LINE_END, BELOW, CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


def width() -> int:
    """Return the terminal's columns, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def frame(lines: Sequence[str], height: int) -> str:
    """Return a screen to be written over the one before, in one piece; what does not fit is counted in its last line."""
    shown = list(lines)
    if len(lines) >= height:
        shown = [*lines[: height - 2], f"... {len(lines) - height + 2:,} more lines: without --watch all are shown"]
    return HOME + "".join(f"{line}{LINE_END}\n" for line in shown) + BELOW


def watch(look: Callable[[], Sequence[str]], *, as_json: bool) -> None:
    """Show what `look` returns until an interrupt; that ends it well. Without a terminal, or as JSON, line follows line."""
    in_place = sys.stdout.isatty() and not as_json
    try:
        if in_place:
            sys.stdout.write(CLEAR)
        while True:
            lines = look()
            told = (
                frame(lines, shutil.get_terminal_size((80, 24)).lines) if in_place else "".join(f"{x}\n" for x in lines)
            )
            sys.stdout.write(told if in_place or as_json else f"{told}\n")
            sys.stdout.flush()
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return
