"""A kit for an application's own tests: a pytest plugin with two fixtures, loaded by itself where Bakehouse is installed.

    bakehouse_outbox   catches what the code under test enqueues; needs no Redis and no server
    bakehouse_stack    a whole system of the test's own: server, workers, and an emulator that answers as the test says

What a fixture runs on is imported when a test asks for it, and nothing of the kit is imported by the rest of Bakehouse.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bakehouse.testing.outbox import BakehouseOutbox, Captured
    from bakehouse.testing.outcomes import make_outcome
    from bakehouse.testing.stack import BakehouseStack, HandlerFailed
    from bakehouse.testing.warm import StackUnavailable, Warm

__all__ = [
    "BakehouseOutbox",
    "BakehouseStack",
    "Captured",
    "HandlerFailed",
    "StackUnavailable",
    "bakehouse_outbox",
    "bakehouse_settings",
    "bakehouse_stack",
    "make_outcome",
]

_HOMES = {
    "BakehouseOutbox": "outbox",
    "BakehouseStack": "stack",
    "Captured": "outbox",
    "HandlerFailed": "stack",
    "StackUnavailable": "warm",
    "make_outcome": "outcomes",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


@pytest.fixture
def bakehouse_outbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[BakehouseOutbox]:
    """Catch what this test enqueues, however it does it. Checks are made as ever: InvalidRecord is still raised."""
    from bakehouse.testing import outbox, reset

    reset.clients()
    yield outbox.capture(monkeypatch)
    reset.clients()


@pytest.fixture
def bakehouse_settings() -> Mapping[str, str]:
    """Settings of this test's stack, such as {"BAKEHOUSE_MAX_ATTEMPTS": "2"}: override this fixture to give some."""
    return {}


@pytest.fixture(scope="session")
def _bakehouse_warm() -> Iterator[Warm]:
    from bakehouse.testing.warm import Warm

    with Warm() as warm:
        yield warm


@pytest.fixture
def bakehouse_stack(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    _bakehouse_warm: Warm,
    bakehouse_settings: Mapping[str, str],
) -> Iterator[BakehouseStack]:
    """Run a whole system for this test alone: an empty store, workers, and an emulator that says what the test scripts.

    The environment leads the application's plain `enqueue_record()`, `wait()` and `get_outcome()` to it. Raises StackUnavailable
    if it does not come up. What its logs hold is shown when the test fails.
    """
    from bakehouse.testing import reset, stack

    reset.clients()
    made = stack.start(_bakehouse_warm, monkeypatch, bakehouse_settings)
    try:
        yield made
    finally:
        request.node.add_report_section("teardown", "bakehouse", made.logs())
        _bakehouse_warm.stop()
        reset.clients()
