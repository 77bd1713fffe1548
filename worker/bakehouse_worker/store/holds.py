"""Why submissions wait: all of them, those of a model, those of a job; and small facts about the installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select, update

from bakehouse_worker import wire
from bakehouse_worker.store import batches
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Hold, Meta, table

_hold, _meta = table(Hold), table(Meta)

SUBMIT = "submit"
PAUSED, CIRCUIT, ANSWERS, RETRY_AFTER, RESTORED = "paused", "circuit", "answers", "retry_after", "restored"
#: The circuit is open: a create was refused for the account's trouble, or answers told of it. One record at a time goes as a probe.
OPEN = (CIRCUIT, ANSWERS)
#: The kind of a hold on one model or one job: a person decides, or what was wrong is found right again.
PARKED = "parked"
MODEL, JOB = "model", "job"
#: Holds that only a person ends; nothing that the API says takes their place.
STANDING = (PAUSED, RESTORED)


@dataclass(frozen=True, slots=True)
class Wait:
    """A hold on all submissions. `until` None means until a person ends it."""

    kind: str
    reason: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Parked:
    """A model or a job (`what`) whose pending records wait. `since` is seconds since 1970."""

    what: str
    name: str
    reason: str
    since: float


def park(database: Database, what: str, name: str, reason: str) -> bool:
    """Let the pending records of a model or a job wait; the first reason stays. False if they waited already."""
    row = {"scope": f"{what}:{name}", "kind": PARKED, "reason": reason, "since": database.now(), "until": None}
    with database.write() as connection:
        statement = database.insert(Hold).on_conflict_do_nothing(index_elements=["scope"])
        return connection.execute(statement.returning(_hold.c.scope), row).first() is not None


def parked(database: Database) -> list[Parked]:
    """Return the models and jobs whose records wait, oldest first."""
    query = select(_hold).where(_hold.c.kind == PARKED).order_by(_hold.c.since, _hold.c.scope)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [_parked(row) for row in rows]


def _parked(row: Any) -> Parked:
    what, _, name = row.scope.partition(":")
    return Parked(what, name, row.reason, row.since)


def unpark(database: Database, what: str, name: str) -> bool:
    """Let the records of a model or a job go on; False if nothing held them."""
    with database.write() as connection:
        mine = (_hold.c.scope == f"{what}:{name}") & (_hold.c.kind == PARKED)
        return connection.execute(delete(_hold).where(mine)).rowcount == 1


def hold(database: Database, kind: str, reason: str, until: float | None) -> None:
    """Stop submissions for a reason. What a person must end is not overwritten; `since` stays that of the first."""
    with database.write() as connection:
        row = {"scope": SUBMIT, "kind": kind, "reason": reason, "since": database.now(), "until": until}
        statement = database.insert(Hold)
        changed = {
            "kind": statement.excluded.kind,
            "reason": statement.excluded.reason,
            "until": statement.excluded.until,
        }
        upsert = statement.on_conflict_do_update(
            index_elements=["scope"], set_=changed, where=_hold.c.kind.not_in(STANDING)
        )
        connection.execute(upsert, row)


def current(database: Database) -> Wait | None:
    """Return why submissions wait, or None. A hold whose time has come is no hold: the next submission is the probe."""
    wait = standing(database)
    return None if wait is None or (wait.until is not None and wait.until <= database.now()) else wait


def standing(database: Database) -> Wait | None:
    """Return the hold that nothing has lifted yet, though its time may have come."""
    with database.read() as connection:
        row = connection.execute(select(_hold).where(_hold.c.scope == SUBMIT)).one_or_none()
    return None if row is None else Wait(row.kind, row.reason, row.since, row.until)


class Turn(StrEnum):
    """What a sender may do now."""

    FREE = "free"  #: send a batch
    PROBE = "probe"  #: send one record, to see whether the account's trouble is over
    NONE = "none"  #: wait


def take_turn(database: Database, interval: float) -> Turn:
    """Say what may be sent now. After a hold's time one submission goes alone, and the next one not before `interval` seconds."""
    now = database.now()
    with database.write() as connection:
        row = connection.execute(select(_hold).where(_hold.c.scope == SUBMIT)).one_or_none()
        if row is None:
            return Turn.FREE
        if row.until is None or row.until > now:
            return Turn.NONE
        same = (_hold.c.scope == SUBMIT) & (_hold.c.until == row.until)
        if connection.execute(update(_hold).where(same).values(until=now + interval)).rowcount != 1:
            return Turn.NONE
        return Turn.PROBE if row.kind in OPEN else Turn.FREE


def end_probe(database: Database) -> None:
    """Lift what an accepted create disproves. It says nothing of what answers told, nor of what a person must end."""
    _lift(database, (CIRCUIT, RETRY_AFTER))


def answered(database: Database, batch_id: int) -> bool:
    """Lift what answers told of the account: one came well, of a batch that was sent after it. Tells whether anything was lifted."""
    wait = standing(database)
    return wait is not None and wait.since < batches.submitted_at(database, batch_id) and _lift(database, (ANSWERS,))


def try_again(database: Database) -> None:
    """Forget what the API said of the account: whoever starts anew may have mended it. Waits that the API asked for stay."""
    _lift(database, OPEN)


def release(database: Database) -> bool:
    """Let submissions go on, whatever held them but a restored database; False if nothing did."""
    return _lift(database, (PAUSED, *OPEN, RETRY_AFTER))


def _lift(database: Database, kinds: Sequence[str]) -> bool:
    mine = (_hold.c.scope == SUBMIT) & _hold.c.kind.in_(kinds)
    with database.read() as connection:
        if connection.execute(select(_hold.c.scope).where(mine)).first() is None:
            return False
    with database.write() as connection:
        return connection.execute(delete(_hold).where(mine)).rowcount > 0


def get(database: Database, key: str) -> str | None:
    """Return a fact about the installation."""
    with database.read() as connection:
        return connection.scalar(select(_meta.c.value).where(_meta.c.key == key))


def put(database: Database, key: str, value: str) -> None:
    """Set a fact about the installation."""
    with database.write() as connection:
        statement = database.insert(Meta)
        upsert = statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value})
        connection.execute(upsert, {"key": key, "value": value})


def installation(database: Database) -> str:
    """Return this installation's 8 hex digits, made at the first call and never changed."""
    found = get(database, "installation")
    if found:
        return found
    with database.write() as connection:
        row = {"key": "installation", "value": wire.new_installation()}
        connection.execute(database.insert(Meta).on_conflict_do_nothing(index_elements=["key"]), row)
    return get(database, "installation") or ""


def turn_is_due(database: Database, key: str, interval: float) -> bool:
    """Tell whether `claim_turn` could be won now; claims nothing."""
    last, now = float(get(database, key) or 0), database.now()
    return now - last >= interval or now < last


def claim_turn(database: Database, key: str, interval: float) -> bool:
    """Take a turn that comes at most once per `interval` seconds over all processes; False if it is not time yet."""
    now = database.now()
    with database.write() as connection:
        connection.execute(
            database.insert(Meta).on_conflict_do_nothing(index_elements=["key"]), {"key": key, "value": "0"}
        )
        last = connection.scalar(select(_meta.c.value).where(_meta.c.key == key).with_for_update())
        if now - float(last or 0) < interval and now >= float(last or 0):
            return False
        connection.execute(update(_meta).where(_meta.c.key == key).values(value=repr(now)))
        return True
