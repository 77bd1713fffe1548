"""docs/reference/ is what `make reference` makes of this code."""

from __future__ import annotations

import importlib
import re

import pytest
import reference


@pytest.mark.parametrize(("page", "content"), reference.made().items(), ids=lambda value: value[:20])
def test_the_reference_is_what_the_code_says(page: str, content: str) -> None:
    stands = reference.HERE / page
    assert stands.is_file() and stands.read_text(encoding="utf-8") == content, (
        "run `make reference` and read what changed"
    )


def test_the_reference_has_every_public_name() -> None:
    headings = set(re.findall(r"^### (\w+)$", reference.python_page(), re.MULTILINE))
    assert {*importlib.import_module("bakehouse").__all__} - headings <= {"aio", "testing"}


def test_every_command_has_a_text_and_so_has_every_option() -> None:
    found = dict(reference.walk(reference.typer.main.get_command(reference.app), None, "bakehouse"))
    assert [name for name, one in found.items() if not one.text or not all(said for _, said in one.rows)] == []


def test_columns_of_a_docstring_become_a_table_and_sentences_stay() -> None:
    text = "job    groups records\n       for progress\na, b   two names"
    assert (
        reference.paragraph(text)
        == "| | |\n|---|---|\n| `job` | groups records for progress |\n| `a`, `b` | two names |"
    )
    assert reference.paragraph("A sentence.\nAnother one.") == "A sentence.\nAnother one."
