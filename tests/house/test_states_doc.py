"""`docs/states.md` and the code say the same: every arrow of a batch, the states of a record, and verbs that exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from bakehouse_worker.states import BATCH_TRANSITIONS, BatchState, RecordState

PAGE = Path(__file__).parents[2] / "docs" / "states.md"
ARROW = re.compile(r"^ *(\S+) --> ([^:\s]+)(?:: *(.+))?$", re.MULTILINE)
START_OR_END = "[*]"
#: What an arrow is labelled with that the tables allow and no verb takes.
NO_VERB = "no verb"

Arrow = tuple[str, str, tuple[str, ...]]


def arrows(title: str) -> list[Arrow]:
    """The arrows of the diagram under a heading, each with its verbs."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    diagram = section.partition("```mermaid")[2].partition("```")[0]
    return [
        (before, after, tuple(part.strip() for part in verbs.split(",") if part))
        for before, after, verbs in ARROW.findall(diagram)
    ]


def test_the_page_draws_exactly_the_ways_that_a_batch_may_go() -> None:
    drawn = {(before, after) for before, after, _ in arrows("Batches") if START_OR_END not in (before, after)}
    allowed = {(before.value, after.value) for before, after in BATCH_TRANSITIONS}
    assert sorted(drawn - allowed) == [], "drawn, but not in BATCH_TRANSITIONS"
    assert sorted(allowed - drawn) == [], "in BATCH_TRANSITIONS, but not drawn"


def test_the_page_names_every_state_of_a_batch() -> None:
    assert _states("Batches") == {state.value for state in BatchState}


def test_the_page_names_every_state_of_a_record() -> None:
    assert _states("Records") == {state.value for state in RecordState} | {"rejected"}


@pytest.mark.parametrize("title", ["Records", "Batches"])
def test_every_arrow_is_a_verb_of_the_store(title: str) -> None:
    for before, after, verbs in arrows(title):
        assert verbs or after == START_OR_END, f"{before} --> {after} names no verb"
        for verb in set(verbs) - {NO_VERB}:
            module, _, name = verb.partition(".")
            assert hasattr(import_module(f"bakehouse_worker.store.{module}"), name), f"{before} --> {after}: {verb}"


def _states(title: str) -> set[str]:
    return {state for before, after, _ in arrows(title) for state in (before, after)} - {START_OR_END}
