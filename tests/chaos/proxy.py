"""A network that goes wrong when told: a TCP proxy to put before the API or before Redis."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

MODES = ("delay", "hole", "cut", "reset")
CHUNK = 65_536
#: Bytes that a connection's receiving end holds; the kernel's own limit is far above whole bodies.
HELD = 262_144


@dataclass(eq=False)
class Fault:
    """What goes wrong with a connection once `after` bytes have passed in a direction.

    "up" is towards the server. With `match`, only from a chunk on that holds these bytes on its way up, and bytes count from there.
    delay: each chunk waits `seconds`. hole: bytes are taken and go nowhere, and nothing comes back. cut: both sides see an end.
    reset: both sides see the connection reset. `times` None: until healed.
    """

    mode: str
    direction: str = "up"
    after: int = 0
    match: bytes = b""
    seconds: float = 0.0
    times: int | None = 1
    fired: int = 0

    @property
    def spent(self) -> bool:
        return self.times is not None and self.fired >= self.times


@dataclass(eq=False)
class Link:
    """One connection: its two writers by the direction in which they lead, and the bytes that count for each fault."""

    writers: dict[str, asyncio.StreamWriter]
    passed: dict[Fault, int] = field(default_factory=dict)
    hole: bool = False

    def end(self, *, reset: bool) -> None:
        for writer in self.writers.values():
            sock = writer.get_extra_info("socket")
            if reset and sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Listens at `port` and passes everything on to `target`. Use it as a block; tell it from any thread."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.faults: list[Fault] = []
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def fail(self, mode: str, **how: Any) -> Fault:
        """Let something go wrong from now on; returns the fault, whose `fired` tells how often it did."""
        fault = Fault(mode, **how)
        assert fault.mode in MODES and fault.direction in ("up", "down")
        self.faults = [*self.faults, fault]
        return fault

    def heal(self) -> None:
        """Nothing goes wrong any more. Connections that a hole has swallowed are reset: nobody will answer on them."""
        self.faults = []
        self._loop.call_soon_threadsafe(self._end_holes)

    def _end_holes(self) -> None:
        for link in [each for each in self._links if each.hole]:
            link.end(reset=True)

    async def _listen(self) -> int:
        self._loop.set_exception_handler(lambda *_: None)  # connections are meant to break here
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD)
        listener.bind(("127.0.0.1", 0))
        await asyncio.start_server(self._serve, sock=listener)
        return int(listener.getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link({"up": onward, "down": writer})
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(link, "up", reader), self._pump(link, "down", back))
            link.end(reset=False)
        except OSError:
            link.end(reset=True)  # one side was reset: so is the other, and what was on its way is lost
        finally:
            self._links.discard(link)

    async def _pump(self, link: Link, direction: str, reader: asyncio.StreamReader) -> None:
        writer = link.writers[direction]
        while data := await reader.read(CHUNK):
            for fault in self.faults:
                data = await self._strike(fault, link, direction, data)
            if data and not link.hole:
                writer.write(data)
                await writer.drain()
        if not link.hole and writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _strike(self, fault: Fault, link: Link, direction: str, data: bytes) -> bytes:
        """Do to a chunk what is due; returns what is left of it."""
        if direction == "up" and fault.match in data and (fault.match or fault not in link.passed):
            link.passed[fault] = 0
        if fault.direction != direction or fault.spent or link.hole or fault not in link.passed:
            return data
        room = fault.after - link.passed[fault]
        link.passed[fault] += len(data)
        if len(data) <= room:
            return data
        fault.fired += 1
        if fault.mode == "delay":
            await asyncio.sleep(fault.seconds)
            return data
        link.writers[direction].write(data[: max(0, room)])
        await link.writers[direction].drain()
        if fault.mode == "hole":
            link.hole = True
        else:
            await asyncio.sleep(0.01)  # what passed before is to arrive before the end does
            link.end(reset=fault.mode == "reset")
        return b""
