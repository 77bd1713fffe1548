"""Memory and CPU time of a command and everything it started, read from /proc every EVERY seconds.

Memory is PSS (/proc/PID/smaps_rollup), so that what forked processes share counts once. Between two looks a peak may go unseen, and so
does the CPU time that a process used after the last look at it.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

EVERY = 0.2
TICK = os.sysconf("SC_CLK_TCK")


class Sampler(threading.Thread):
    """Use it as a block. Afterwards `largest` and `together` are peaks in MB, `cpu` is seconds, `who` the largest process."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root, self._over = pid, threading.Event()
        self.largest = self.together = 0.0
        self.who, self.samples, self.processes = "", 0, 0
        self._used: dict[int, float] = {}

    @property
    def cpu(self) -> float:
        return sum(self._used.values())

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(EVERY):
            used = tree(self._root)
            self._used |= used
            found = {pid: pss(pid) for pid in used}
            self.samples += 1
            self.processes = max(self.processes, len(found))
            self.together = max(self.together, sum(found.values()))
            for pid, size in found.items():
                if size > self.largest:
                    self.largest, self.who = size, name(pid)


def tree(root: int) -> dict[int, float]:
    """Return a process and all that descend from it, in one look at /proc, each with the seconds of CPU that it has used."""
    children, used = defaultdict(list), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children[int(fields[1])].append(int(entry.name))
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICK
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        found[pid] = used.get(pid, 0.0)
        waiting += children[pid]
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
