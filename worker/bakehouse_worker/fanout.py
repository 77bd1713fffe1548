"""How a batch's results become settle tasks: one per custom_id while there are few, spans beyond, and failures always alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches
from bakehouse_worker.store.results import ResultRow


class Fanout:
    """Rings for the results of one batch, span by span, as collect commits them. `ring_each` takes a station and many arguments."""

    def __init__(
        self, runtime: Runtime, batch_id: int, ring_each: Callable[[str, Sequence[Sequence[Any]]], None]
    ) -> None:
        self._batch_id = batch_id
        self._ring_each = ring_each
        self._alone = runtime.settings.fanout_limit
        self._few = batches.requests(runtime.database, batch_id) <= runtime.settings.fanout_limit

    def __call__(self, rows: Sequence[ResultRow]) -> None:
        """Ring for one span of stored result rows."""
        alone: list[int] = []
        together: list[int] = []
        for row in rows:
            if self._alone > 0 and (self._few or row.kind != "succeeded"):
                self._alone -= 1
                alone.append(row.record_id)
            else:
                together.append(row.record_id)
        spans = [[record_id] for record_id in alone]
        if together:
            spans.append(together)
        self._ring_each("settle", [(self._batch_id, span) for span in spans])
