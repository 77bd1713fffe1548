"""The figures of docs/what-articles-get-wrong.md: prices as the price data has them, and tables that follow from the prices."""

from __future__ import annotations

import re
from pathlib import Path

import anthropic
import pytest
from pages import HOUSE, prose, text_of

from bakehouse_worker.pricing import Tokens, cost
from bakehouse_worker.settings import Settings

PAGE = "docs/what-articles-get-wrong.md"
MILLION = 1_000_000
PREFIX, OWN, OUT, REQUESTS, MODEL = 20_000, 500, 200, 1_000, "claude-opus-5-5"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under the first header row that begins so."""
    _, _, below = prose(PAGE).partition(f"| {heading} |")
    lines = below.splitlines()[2:]
    table = [
        line.strip() for line in lines[: next(n for n, line in enumerate(lines) if not line.strip().startswith("|"))]
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def price(model: str, **tokens: int) -> float:
    """Dollars of a batch for so many tokens, in a short prompt."""
    none = {"input": 0, "output": 0, "write_5m": 0, "write_1h": 0, "read": 0}
    found = cost(model, Tokens(**{**none, **tokens}))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("row", rows("model"), ids=lambda row: row[0])
def test_the_prices_are_those_of_the_price_data(row: list[str]) -> None:
    model = re.findall(r"`([^`]+)`", row[0])[0]
    kinds = ("input", "write_5m", "write_1h", "read", "output")
    wanted = [price(model, **{kind: 1_000}) * MILLION / 1_000 for kind in kinds]
    assert [float(cell) for cell in row[1:]] == pytest.approx(wanted)


def batch_of(hits: float, kind: str) -> float:
    """What the page's thousand requests cost, with such a share of hits."""
    missed = round(PREFIX * MILLION * (1 - hits)) / MILLION
    each = price(MODEL, input=OWN, output=OUT) + (missed * price(MODEL, **{kind: 1_000}) / 1_000)
    return REQUESTS * (each + (PREFIX - missed) * price(MODEL, read=1_000) / 1_000)


@pytest.mark.parametrize("row", rows("hits"), ids=lambda row: row[0])
def test_what_caching_costs_follows_from_the_prices(row: list[str]) -> None:
    hits = float(row[0].partition(" %")[0]) / 100
    wanted = [
        REQUESTS * price(MODEL, input=PREFIX + OWN, output=OUT),
        batch_of(hits, "write_5m"),
        batch_of(hits, "write_1h"),
    ]
    assert row[1:] == [f"${each:.2f}" for each in wanted]


def test_the_sentences_about_the_table_follow_from_it_too() -> None:
    prompt = Tokens(input=PREFIX + OWN, output=OUT, write_5m=0, write_1h=0, read=0)
    batch, sync = cost(MODEL, prompt) or (0, 0)
    assert (round(REQUESTS * batch, 2), round(REQUESTS * sync, 2)) == (43.00, 86.00)
    assert [f"{pays_from(write, read):.0%}" for write, read in ((1.25, 0.05), (2, 0.05), (2, 0.1))] == [
        "21%",
        "51%",
        "53%",
    ]
    assert batch_of(0.60, "write_1h") == pytest.approx(batch_of(0.35, "write_5m"))
    warm = cost(MODEL, Tokens(input=0, output=0, write_5m=0, write_1h=PREFIX, read=0)) or (0, 0)
    assert round(warm[1], 2) == 0.16
    assert "$43.00" in text_of(PAGE) and "$86.00" in text_of(PAGE) and "$0.16" in text_of(PAGE)


def pays_from(write: float, read: float) -> float:
    """The share of hits from which caching is cheaper than none, in multiples of the input price."""
    return (write - 1) / (write - read)


def test_a_long_prompt_of_haiku_costs_five_times_as_much_with_its_output() -> None:
    short, long = (Tokens(input=count, output=1_000, write_5m=0, write_1h=0, read=90_000) for count in (10_000, 10_001))
    (low, _), (high, _) = cost("claude-haiku-5-5", short) or (0, 0), cost("claude-haiku-5-5", long) or (0, 0)
    assert round(high / low, 2) == 5


def test_the_defaults_it_names_are_the_settings() -> None:
    fields = Settings.model_fields
    assert [
        fields[name].default for name in ("max_batch_requests", "max_batch_bytes", "max_queued_requests", "max_expired")
    ] == [
        10_000,
        200_000_000,
        200_000,
        3,
    ]


def test_prices_in_when_to_batch_and_the_readme_are_those_of_the_price_data() -> None:
    batch, sync = cost(MODEL, Tokens(input=1_000, output=0, write_5m=0, write_1h=0, read=0)) or (0, 0)
    out, out_sync = cost(MODEL, Tokens(input=0, output=1_000, write_5m=0, write_1h=0, read=0)) or (0, 0)
    assert [round(each * 1_000, 2) for each in (batch, out, sync, out_sync)] == [2, 10, 4, 20]
    read = cost(MODEL, Tokens(input=0, output=0, write_5m=0, write_1h=0, read=1_000)) or (0, 0)
    assert round(read[1] * 1_000, 2) == 0.20
    for page in ("README.md", "docs/when-to-batch.md"):
        assert re.search(
            r"\$2 in and \$10\s+out\s+per\s+million\s+tokens\b.*?\binstead\s+of\s+\$4\s+and\s+\$20", text_of(page), re.S
        )


def test_every_name_of_a_source_has_its_address() -> None:
    text = (HOUSE / PAGE).read_text(encoding="utf-8")
    defined = {name.lower() for name in re.findall(r"^\[([^\]]+)\]: https://", text, re.MULTILINE)}
    used = {name.lower() for name in re.findall(r"(?<!`)\[([A-Za-z ]+)\](?![(:\w])", prose(PAGE))}
    assert used == defined


def test_every_file_of_the_sdk_that_it_names_is_there() -> None:
    package = Path(anthropic.__file__).parents[1]
    named = re.findall(r"`(anthropic/[\w/.]+)`", prose(PAGE))
    assert named and [name for name in named if not (package / name).exists()] == []
