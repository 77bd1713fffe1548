"""The emulator itself: what happens to batches, without a word about HTTP."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bakehouse_emulator import outcome, script
from bakehouse_emulator.batch import Batch
from bakehouse_emulator.clock import Anchor, Clock
from bakehouse_emulator.ids import batch_id
from bakehouse_emulator.ledger import Ledger
from bakehouse_emulator.members import ItemFile, Members
from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.script import Script
from bakehouse_emulator.store import Store
from bakehouse_emulator.verdict import Terms


class Emulator:
    """Batches, clock, ledger and script of one emulated organisation. Used by one thread."""

    def __init__(self, options: EmulatorOptions) -> None:
        directory = Path(options.state) if options.state else None
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.store = Store(directory)
        self.ledger = Ledger(self.store)
        self.items = ItemFile(directory)
        self.calls: Counter[str] = Counter()
        self._anchor: Anchor | None = None  # as remembered
        self._open_script(options)
        stored = self.store.note("clock")
        self.clock = Clock(self.options.speed, stored=Anchor(**stored) if stored else None)
        self.save()

    def _open_script(self, options: EmulatorOptions) -> None:
        """The script remembered, unless the file given is another one than last time."""
        text = Path(options.script).read_bytes() if options.script else b""
        mark = hashlib.sha256(text).hexdigest() if text else None
        remembered = self.store.note("script") or {}
        if text and remembered.get("file") != mark:
            rules, settings, _ = script.read(text)
            remembered = {"rules": [], "options": settings}
        else:
            rules = [script.rule(each) for each in remembered.get("rules", [])]
        self._file, self._set = mark or remembered.get("file"), dict(remembered.get("options", {}))
        self.script = Script(rules)
        self.options = options.changed(self._set)
        self.script.changed = True

    def save(self) -> None:
        """Remember script and clock, if they changed."""
        if self.script.changed:
            self.store.remember("script", {"file": self._file, "rules": self.script.dump(), "options": self._set})
            self.script.changed = False
        if self.clock.anchor is not self._anchor:
            self._anchor = self.clock.anchor
            self.store.remember("clock", asdict(self._anchor))

    def set_options(self, values: dict[str, Any]) -> None:
        """Change options at run time. Raises ValueError and changes nothing when one is wrong."""
        self.options = self.options.changed(values)
        self._set |= values
        self.clock.set_speed(self.options.speed)
        self.script.changed = True
        self.save()

    def terms(self, batch: Batch) -> Terms:
        """Under which terms the items of a batch run."""
        return Terms(batch.version, batch.betas, unknown_model_type=self.options.unknown_model_type)

    def accept(self, members: Members, *, workspace: str, version: str, betas: str) -> Batch:
        """A new batch of these members, in progress from now on."""
        now, options = self.clock.now(), self.options
        expires = now + options.expire_seconds
        batch = Batch(
            id=batch_id(),
            workspace=workspace,
            version=version,
            betas=betas,
            count=len(members),
            created=now,
            duration=options.batch_seconds,
            expires=expires,
            ends=min(expires, now + options.batch_seconds),
        )
        return self.store.accept(batch, members)

    def settle(self) -> None:
        """Write down the end of every batch whose time has come. Called before anything looks at a batch."""
        for batch in self.store.due(self.clock.now()):
            members, _ = self.store.members(batch)
            outcome.stop(members, batch.finished(self.options), canceled=batch.cancel_initiated is not None)
            rules = self.script.active("result")
            casting = outcome.Casting(rules, seed=self.options.seed, ran=lambda digest: self.ledger.runs()[digest])
            if rules:
                casting.apply(members, partial(self.items.line, members))
                self.script.changed = True
            ended = outcome.counted(batch, members, casting.effects)
            self.store.end(ended, members, casting.effects)
            self.ledger.ended(iter(members.digests))
            self.save()

    def cancel(self, batch: Batch) -> Batch:
        """Ask a running batch to stop; it ends `cancel_seconds` later at the latest."""
        now = self.clock.now()
        canceled = replace(batch, cancel_initiated=now, ends=min(batch.ends, now + self.options.cancel_seconds))
        self.store.cancel(canceled)
        return canceled

    def lines(self, batch: Batch) -> Iterator[bytes]:
        """The result lines of an ended batch, each made when it is asked for, in an order of the batch's own."""
        members, effects = self.store.members(batch)
        terms, seed, dial = self.terms(batch), self.options.seed, self.options.cache_hit_rate
        for position in members.shuffled(seed + batch.seq):
            custom_id, params = self.items.item(members, position)
            hit = outcome.lottery(members.digests[position], seed + 1) < dial
            found = outcome.result(
                params, members.codes[position], effects, source=f"{batch.id}/{position}", terms=terms, hit=hit
            )
            yield orjson.dumps({"custom_id": custom_id, "result": found}) + b"\n"

    def close(self) -> None:
        """Close files; the state directory, if there is one, can be opened again."""
        self.save()
        self.store.close()
        self.items.close()
