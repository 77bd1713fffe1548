"""The emulator alone: how fast it takes bodies and gives lines to a client that does nothing. It tells who waits for whom."""

from __future__ import annotations

import http.client
import time
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from bench.emulator import Emulator
from bench.scripts.floor import BATCHES, HEADERS, PIECE, body

SIZE = 10_000


def measure(source: Path, records: int, home: Path) -> list[tuple[str, str, str]]:
    """Return rows of (what, records per second, a remark)."""
    with source.open("rb") as file:
        batches = [b"".join(body(lines)) for lines in iter(lambda: list(islice(file, SIZE)), [])]
    with Emulator(home) as emulator:
        api = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
        started, used = time.monotonic(), emulator.cpu()
        for batch in batches:
            api.request("POST", BATCHES, batch, {**HEADERS, "content-type": "application/json"})
            api.getresponse().read()
        up, up_cpu = time.monotonic() - started, emulator.cpu() - used
        found = [batch["id"] for batch in emulator.stats()["batches"]]
        started, used, size = time.monotonic(), emulator.cpu(), 0
        for batch_id in found:
            api.request("GET", f"{BATCHES}/{batch_id}/results", headers=HEADERS)
            answer = api.getresponse()
            while piece := answer.read(PIECE):
                size += len(piece)
        down, down_cpu = time.monotonic() - started, emulator.cpu() - used
    sent = sum(map(len, batches))
    return [
        ("bodies taken", f"{records / up:,.0f}", f"{sent / up / 1e6:.0f} MB/s, {up_cpu / up:.0%} of a core"),
        (
            "result lines given",
            f"{records / down:,.0f}",
            f"{size / down / 1e6:.0f} MB/s, {down_cpu / down:.0%} of a core",
        ),
        ("both, one after the other", f"{records / (up + down):,.0f}", f"{up + down:.2f} s for {records:,} records"),
    ]
