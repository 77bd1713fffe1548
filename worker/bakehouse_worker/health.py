"""Heartbeat files: whether the processes of this host live, and whether they work. Neither writer nor reader asks Redis or SQL.

A process writes `DATA_DIR/health/<role>.<pid>` when it starts, touches it every BEAT seconds while its loop turns, and removes it when
it stops as it should. So a file whose process is gone, or that is old, tells of one that was killed or hangs. The same role's next
start sweeps away what the dead left.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

#: Seconds between two touches, and the age at which a file tells of a process that does not run (frozen, or its host is).
BEAT, STALE = 2.0, 15.0
#: Seconds without a turn of its loop after which a process counts as hanging: the longest task of `control` takes less.
STALL = 120.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat file says. `ready`: connected and taking work; a process that waits for Redis lives and is not ready."""

    role: str
    pid: int
    host: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one process, or of a role that has none."""

    role: str
    alive: bool
    ready: bool
    told: str


class Pulse:
    """The heartbeat of this process. `mark()` says that its loop turned; a thread touches the file while that is not long ago."""

    def __init__(self, data_dir: Path, role: str) -> None:
        self._role = role
        self._file = data_dir / "health" / f"{role}.{os.getpid()}"
        self._ready = False
        self._marked = time.monotonic()
        self._ended = threading.Event()

    def start(self) -> None:
        """Write the file and keep it fresh until `stop`."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(self._file.parent.parent, self._role)
        self._write()
        threading.Thread(target=self._touch, name="pulse", daemon=True).start()

    def mark(self) -> None:
        """Note that the loop turned."""
        self._marked = time.monotonic()

    def waiting(self) -> None:
        """Note that the process waits for its broker: it lives, and its loop need not turn meanwhile."""
        self._set(ready=False)

    def working(self) -> None:
        """Note that the process takes work, and turns its loop from now on."""
        self.mark()
        self._set(ready=True)

    def stop(self) -> None:
        """End as it should: the file goes."""
        self._ended.set()
        self._file.unlink(missing_ok=True)

    def _set(self, *, ready: bool) -> None:
        if self._ready != ready and not self._ended.is_set():
            self._ready = ready
            self._write()

    def _write(self) -> None:
        beat = Beat(self._role, os.getpid(), socket.gethostname(), self._ready)
        partly = self._file.with_name(f".{self._file.name}")
        partly.write_bytes(orjson.dumps(asdict(beat)))
        partly.replace(self._file)

    def _touch(self) -> None:
        while not self._ended.wait(BEAT):
            if not self._ready or time.monotonic() - self._marked < STALL:
                with suppress(OSError):  # stopped just now, or a full disk: then the file's age tells
                    os.utime(self._file)


def sweep(data_dir: Path, role: str | None = None) -> None:
    """Remove what dead processes of this host left: of one role, or of all whose processes were stopped on purpose."""
    for file, beat in _beats(data_dir / "health"):
        if role in (None, beat.role) and beat.host == socket.gethostname() and not _runs(beat.pid):
            file.unlink(missing_ok=True)


def examine(data_dir: Path, roles: Sequence[str]) -> list[Verdict]:
    """Judge every process of these roles that was started on this host and not stopped; of any role if none is given."""
    found = [
        _verdict(file, beat)
        for file, beat in _beats(data_dir / "health")
        if beat.host == socket.gethostname() and (not roles or beat.role in roles)
    ]
    missing = [role for role in roles if all(verdict.role != role for verdict in found)]
    if not found and not roles:
        return [Verdict("bakehouse", False, False, f"bakehouse: nothing runs on {data_dir}/")]
    return found + [Verdict(role, False, False, f"{role}: none runs on {data_dir}/") for role in missing]


def _verdict(file: Path, beat: Beat) -> Verdict:
    name = f"{beat.role} (process {beat.pid})"
    if not _runs(beat.pid):
        return Verdict(beat.role, False, False, f"{name} is gone, and was not stopped")
    try:
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return Verdict(beat.role, False, False, f"{name} has just stopped")
    if age > STALE:
        return Verdict(beat.role, False, False, f"{name} has not moved for {age:,.0f} s")
    return Verdict(beat.role, True, beat.ready, f"{name} " + ("works" if beat.ready else "lives, and waits for Redis"))


def _beats(folder: Path) -> Iterator[tuple[Path, Beat]]:
    for file in sorted(folder.glob("[!.]*")) if folder.is_dir() else ():
        try:
            yield file, Beat(**orjson.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError):
            continue


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A killed child that nobody waited for yet still has a process id; Linux tells it apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
