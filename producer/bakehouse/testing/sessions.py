"""Records that the code under test enqueues in a transaction of its own: they count once it is committed, as they would in truth.

SQLAlchemy is the application's own: it is imported when a session is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

Entries = Sequence[tuple[bytes, bytes]]

_KEY = "bakehouse_outbox"


def hold(session: Session, entries: Entries, take: Callable[[Entries], None]) -> None:
    """Keep entries until the session's transaction ends: committed, `take` gets them; rolled back, or to a savepoint before, nobody."""
    from sqlalchemy import event

    held: list[tuple[SessionTransaction | None, Entries]] | None = session.info.get(_KEY)
    if held is None:
        held = session.info[_KEY] = []
        event.listen(session, "after_commit", _Committed(held, take))
        event.listen(session, "after_soft_rollback", _RolledBack(held))
    held.append((session.get_nested_transaction(), entries))


class _Committed:
    def __init__(self, held: list[Any], take: Callable[[Entries], None]) -> None:
        self._held, self._take = held, take

    def __call__(self, session: Session) -> None:
        if session.in_nested_transaction():  # a savepoint was released: what it held now hangs on the one around it
            ended = session.get_nested_transaction()
            around = ended.parent if ended is not None else None
            outer = around if around is not None and around.nested else None
            self._held[:] = [(outer if each[0] is ended else each[0], each[1]) for each in self._held]
            return
        for _, entries in self._held:
            self._take(entries)
        self._held.clear()


class _RolledBack:
    def __init__(self, held: list[Any]) -> None:
        self._held = held

    def __call__(self, session: Session, previous: SessionTransaction) -> None:
        lost = previous if previous.nested else None
        self._held[:] = [each for each in self._held if lost is not None and each[0] is not lost]
