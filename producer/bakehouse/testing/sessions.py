"""Records that the code under test enqueues in a transaction of its own: they count once it is committed, as they would in truth.

SQLAlchemy is the application's own: it is imported when a session is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

Entries = Sequence[tuple[bytes, bytes]]

_KEY = "bakehouse.testing"


@dataclass
class _Held:
    """Entries that hang on a transaction, and on a savepoint inside it if there is one; `take` is that test's which wrote them."""

    root: SessionTransaction | None
    savepoint: SessionTransaction | None
    entries: Entries
    take: Callable[[Entries], None]


def hold(session: Session, entries: Entries, take: Callable[[Entries], None]) -> None:
    """Keep entries until the session's transaction ends: committed, `take` gets them; rolled back, in whole or part, nobody."""
    from sqlalchemy import event

    held: list[_Held] | None = session.info.get(_KEY)
    if held is None:
        held = session.info[_KEY] = []
        event.listen(session, "after_commit", _Committed(held))
        event.listen(session, "after_soft_rollback", _RolledBack(held))
    held.append(_Held(session.get_transaction(), session.get_nested_transaction(), entries, take))


class _Committed:
    """Hears of every commit, a savepoint's too: what hung on that hangs on what is around it now."""

    def __init__(self, held: list[_Held]) -> None:
        self._held = held

    def __call__(self, session: Session) -> None:
        root, savepoint = session.get_transaction(), session.get_nested_transaction()
        if savepoint is not None:
            around = savepoint.parent if savepoint.parent is not None and savepoint.parent.nested else None
            for each in self._held:
                each.savepoint = around if each.savepoint is savepoint else each.savepoint
            return
        for each in self._held:
            if each.root is root:  # what a session that was closed without a word left is not wanted
                each.take(each.entries)
        self._held.clear()


class _RolledBack:
    """Hears of every rollback, to a savepoint or of everything."""

    def __init__(self, held: list[_Held]) -> None:
        self._held = held

    def __call__(self, session: Session, ended: SessionTransaction) -> None:
        self._held[:] = [each for each in self._held if ended.nested and each.savepoint is not ended]
