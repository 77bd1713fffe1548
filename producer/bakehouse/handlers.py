"""`@handler`: what a function named by `on_result` takes, and for how long it may run. Without it: one Outcome, the default limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from bakehouse.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., object])

_ATTRIBUTE = "__bakehouse_handler__"


@dataclass(frozen=True, slots=True)
class Terms:
    """How the deliver workers call a handler. `timeout` is in seconds; None: BAKEHOUSE_DELIVER_TIMEOUT."""

    spans: bool = False
    transaction: bool = False
    timeout: float | None = None


def handler(*, spans: bool = False, transaction: bool = False, timeout: float | None = None) -> Callable[[F], F]:
    """Say how the decorated function is to be called. It stays what it is, and may be called by anybody.

    spans        it takes a `list[Outcome]` instead of one `Outcome`: for applications that store in bulk. If it raises, each of
                 them is tried again alone
    transaction  it takes a SQLModel `Session` as its second argument, on the store's own database. What it writes there is
                 committed together with the mark that the outcome was delivered, or not at all: exactly once in effect. It must
                 not commit
    timeout      seconds that one call may take before it is ended; default: BAKEHOUSE_DELIVER_TIMEOUT

    Raises ConfigurationError for a time-out that is no number of seconds above 0.
    """
    if timeout is not None and not _is_seconds(timeout):
        raise ConfigurationError(f"@handler: timeout must be above 0 seconds and finite, not {timeout!r}")
    terms = Terms(spans, transaction, timeout)

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, terms)
        return function

    return mark


def _is_seconds(timeout: object) -> bool:
    return isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < inf


def terms_of(function: Callable[..., object]) -> Terms:
    """Return what `@handler` said of a function; the defaults if it was not used."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Terms) else Terms()
