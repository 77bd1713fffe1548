"""Sums over jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bakehouse_worker.store.reading import SpendView


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add numbers up by their names."""
    found: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            found[name] = found.get(name, 0) + number
    return found


def money(spend: Iterable[SpendView]) -> dict[str, float]:
    """Return what answers cost, what that saved, and how many answers are not in it because their price is not known."""
    parts = list(spend)
    cost, sync = sum((part.cost for part in parts), 0.0), sum((part.cost_sync for part in parts), 0.0)
    return {"cost_usd": cost, "saved_usd": sync - cost, "unpriced": sum(part.unpriced for part in parts)}
