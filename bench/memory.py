"""Memory of a command and everything it started: PSS, so that what forked processes share counts once.

Read from /proc/PID/smaps_rollup of each process of the tree, every EVERY seconds; between two looks a peak may go unseen.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

EVERY = 0.2


class Sampler(threading.Thread):
    """Use it as a block. Afterwards `largest` and `together` are peaks in MB, and `who` is the largest process's name."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root, self._over = pid, threading.Event()
        self.largest = self.together = 0.0
        self.who, self.samples, self.processes = "", 0, 0

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(EVERY):
            found = {pid: pss(pid) for pid in tree(self._root)}
            self.samples += 1
            self.processes = max(self.processes, len(found))
            self.together = max(self.together, sum(found.values()))
            for pid, size in found.items():
                if size > self.largest:
                    self.largest, self.who = size, name(pid)


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it, in one look at /proc."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children[parent].append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children[found[-1]]
    return found


def pss(pid: int) -> float:
    """Return a process's proportional set size in MB; 0 if it has ended."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1000 * 1.024 for row in rows if row.startswith("Pss:")), 0.0)


def name(pid: int) -> str:
    """Return the end of a process's command line: which of ours it is."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    return " ".join(word.rpartition("/")[2] for word in words if word)[:60]
