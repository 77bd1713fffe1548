"""What `on_result` names: a handler, `package.module:function`, or a task of the application's own Celery app, `task:NAME[@QUEUE]`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bakehouse import ConfigurationError, Outcome
from bakehouse.handlers import Terms, terms_of

#: How `on_result` of a Celery task begins.
TASK = "task:"
#: Seconds; the longest rest of a sink.
LONGEST_REST = 600.0
#: How often a rest doubles at most: a sink that never gets well is not counted to where numbers end.
DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Sink:
    """Where outcomes go, and on which terms: one at a time, or `terms.spans` of them; with a session if `terms.transaction`.

    `app` is the application's own Celery app, if it has one: tasks that a handler sends go there.
    """

    call: Callable[..., object]
    terms: Terms
    app: Any = None

    def take(self, outcomes: Sequence[Outcome], session: object = None) -> None:
        """Hand outcomes over: exactly one unless it takes spans. Whatever the application's code raises passes."""
        told: Any = list(outcomes) if self.terms.spans else outcomes[0]
        if self.app is not None:
            self.app.set_current()
        try:
            self.call(*((told,) if session is None else (told, session)))
        finally:
            _keep_our_app()


@lru_cache(maxsize=256)
def find(name: str, celery_app: str) -> Sink:
    """Return the sink that `on_result` names; `celery_app` is BAKEHOUSE_CELERY_APP. Whatever an import raises passes."""
    if name.startswith(TASK):
        return _task(name.removeprefix(TASK), celery_app)
    function = _named(name)
    if not callable(function):
        raise ConfigurationError(f"on_result {name}: it is a {type(function).__name__}, no function")
    return Sink(function, terms_of(function), _application(celery_app) if celery_app else None)


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        _keep_our_app()


def _keep_our_app() -> None:
    """An import of the application's that makes a Celery app makes it the current one of this process; it is not."""
    from bakehouse_worker.app import app

    app.set_current()


def _application(celery_app: str) -> Any:
    return _named(celery_app if ":" in celery_app else f"{celery_app}:app")


def is_away(sink: str, error: BaseException) -> bool:
    """Tell whether a task could not be sent because the application's broker is away: it is tried until the broker is back."""
    from kombu.exceptions import OperationalError

    return sink.startswith(TASK) and isinstance(error, OperationalError | ConnectionError)


def _task(target: str, celery_app: str) -> Sink:
    task, _, queue = target.partition("@")
    if not celery_app:
        raise ConfigurationError(f"on_result task:{target} needs BAKEHOUSE_CELERY_APP, such as myapp.celery:app")
    application = _application(celery_app)

    def publish(outcomes: Sequence[Outcome]) -> None:
        with application.producer_pool.acquire(block=True) as producer:
            for each in outcomes:
                told = {name: getattr(each, name) for name in ("job", "custom_id", "status", "delivery_id")}
                application.send_task(
                    task, kwargs=told, queue=queue or None, task_id=f"bakehouse-{each.delivery_id}", producer=producer
                )

    return Sink(publish, Terms(spans=True))


class Resting:
    """The sinks of this process whose calls took too long: each rests as long as its calls took, twice as long every further time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, int]] = {}

    def names(self) -> list[str]:
        """Return the sinks that rest now."""
        now = self._clock()
        return [name for name, (until, _) in self._until.items() if now < until]

    def rest(self, name: str, seconds: float) -> None:
        """Let a sink rest: its call took `seconds` and was ended."""
        times = self._until.get(name, (0.0, 0))[1]
        self._until[name] = self._clock() + min(LONGEST_REST, seconds * 2.0**times), min(times + 1, DOUBLINGS)

    def well(self, name: str) -> None:
        """A sink took what it was handed."""
        self._until.pop(name, None)
