"""Doorbells: messages that wake a station, with ids and nothing else. A lost one costs a tick, a doubled one costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakehouse_worker.app import app
from bakehouse_worker.telling import arguments


def ring(station: str, *words: Any) -> None:
    """Send a station's doorbell."""
    from bakehouse_worker import runtime
    from bakehouse_worker.store import batches

    whole = station in ("submit", "collect") and len(words) == 1
    requests = batches.requests(runtime.current().database, words[0]) if whole else None
    _send(station, words, requests)


def ring_each(station: str, calls: Sequence[Sequence[Any]]) -> None:
    """Send a station's doorbell once for each of these arguments: all in one go, or one by one if that goes wrong."""
    with app.producer_pool.acquire(block=True) as acquired:
        producer: Any = acquired  # its types know no batch() yet
        try:
            with producer.batch():
                for words in calls:
                    _send(station, words, producer=producer)
        except producer.connection.connection_errors:
            for words in calls:
                _send(station, words)


def ring_once(station: str) -> None:
    """Send a doorbell without arguments, unless one waits already: whoever takes that one sees what is committed by now."""
    from bakehouse_worker import runtime, ticking

    if ticking.stands_empty(runtime.current(), station):
        ring(station)


def _send(station: str, words: Sequence[Any], requests: int | None = None, producer: Any = None) -> None:
    told = arguments(words, requests)
    app.send_task(f"bakehouse.{station}", args=words, shadow=station, argsrepr=told, producer=producer)
