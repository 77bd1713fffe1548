"""The ledger: how often each input was accepted and billed. Worked out from the batches when somebody asks.

Creating and ending a batch therefore cost the same, however many inputs were seen before.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bakehouse_emulator.outcome import billed
from bakehouse_emulator.store import Store

TOTALS = """
SELECT count(*), total(accepted), total(billed), total(accepted > 1), total(billed > 1)
FROM (SELECT count(*) AS accepted, sum(billed) AS billed FROM entry GROUP BY digest)
"""
INPUTS = "SELECT digest, count(*), sum(billed) FROM entry GROUP BY digest ORDER BY min(rowid)"


class Ledger:
    """Reads the members of every batch, deleted ones too. Its own memory does not grow: the counting spills to disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: Counter[int] | None = None

    def totals(self) -> dict[str, int]:
        """Five sums; `accepted_twice` and `billed_twice` count inputs."""
        names = ("inputs", "accepted", "billed", "accepted_twice", "billed_twice")
        with self._counted() as counted:
            return {name: int(value) for name, value in zip(names, counted.execute(TOTALS).fetchone(), strict=True)}

    def inputs(self) -> Iterator[tuple[int, int, int]]:
        """Digest, times accepted, times billed of every input."""
        with self._counted() as counted:
            yield from counted.execute(INPUTS)

    def runs(self) -> Counter[int]:
        """How often each input was in a batch that ended. Kept from the first question on, for rules that count runs."""
        if self._runs is None:
            self._runs = Counter()
            for batch in self._store.everything():
                if batch.ended:
                    self._runs.update(self._store.members(batch)[0].digests)
        return self._runs

    def ended(self, digests: Iterator[int]) -> None:
        """A batch of these inputs ended."""
        if self._runs is not None:
            self._runs.update(digests)

    @contextmanager
    def _counted(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect("")) as counted:
            counted.execute("CREATE TABLE entry (digest INT, billed INT)")
            for batch in self._store.everything():
                members, effects = self._store.members(batch)
                paid = billed(members, effects) if batch.ended else [False] * len(members)
                counted.executemany("INSERT INTO entry VALUES (?, ?)", zip(members.digests, paid, strict=True))
            yield counted
