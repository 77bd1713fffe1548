"""What an answer cost. Numbers are copied from the published price list, so that a wrong one in the library's data is noticed."""

from __future__ import annotations

import pytest
from genai_prices import data
from genai_prices.types import ConditionalPrice, TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.pricing import BANDS, Tokens, cost, tokens

#: USD per million tokens in a batch, and of synchronous input and output. As of November 2026, from
#: https://platform.claude.com/docs/en/about-claude/pricing and the models' own pages.
#: model, prompt tokens of the band, batch: input, output, 5 minute write, 1 hour write, read; synchronous: input, output
PRICES = [
    ("claude-fable-5-2", 1_000, 4, 20, 5, 8, 0.1, 8, 40),
    ("claude-mythos-5-2", 1_000, 4, 20, 5, 8, 0.1, 8, 40),
    ("claude-fable-5-1", 1_000, 5, 25, 6.25, 10, 0.125, 10, 50),
    ("claude-fable-5", 1_000, 5, 25, 6.25, 10, 0.5, 10, 50),
    ("claude-opus-5-5", 1_000, 2, 10, 2.5, 4, 0.1, 4, 20),
    ("claude-opus-5", 1_000, 2.5, 12.5, 3.125, 5, 0.25, 5, 25),
    ("claude-opus-4-8", 1_000, 2.5, 12.5, 3.125, 5, 0.25, 5, 25),
    ("claude-opus-4-6", 1_000, 2.5, 12.5, 3.125, 5, 0.25, 5, 25),
    ("claude-opus-4-5-20251101", 1_000, 2.5, 12.5, 3.125, 5, 0.25, 5, 25),
    ("claude-opus-4-5", 1_000, 2.5, 12.5, 3.125, 5, 0.25, 5, 25),
    ("claude-sonnet-5-5", 1_000, 1, 5, 1.25, 2, 0.05, 2, 10),
    ("claude-sonnet-5", 1_000, 1, 5, 1.25, 2, 0.1, 2, 10),
    ("claude-sonnet-5", 500_000, 1, 5, 1.25, 2, 0.1, 2, 10),
    ("claude-sonnet-4-6", 1_000, 1.5, 7.5, 1.875, 3, 0.15, 3, 15),
    ("claude-haiku-5-5", 1_000, 0.05, 0.25, 0.0625, 0.1, 0.005, 0.1, 0.5),
    ("claude-haiku-5-5", 90_000, 0.05, 0.25, 0.0625, 0.1, 0.005, 0.1, 0.5),
    ("claude-haiku-5-5", 110_000, 0.25, 1.25, 0.3125, 0.5, 0.025, 0.5, 2.5),
    ("claude-haiku-5-5", 900_000, 0.25, 1.25, 0.3125, 0.5, 0.025, 0.5, 2.5),
    ("claude-haiku-4-5-20251001", 1_000, 0.5, 2.5, 0.625, 1, 0.05, 1, 5),
    ("claude-opus-4-1-20250805", 1_000, 7.5, 37.5, 9.375, 15, 0.75, 15, 75),  # retired
    ("claude-3-5-haiku-20241022", 1_000, 0.4, 2, 0.5, 0.8, 0.04, 0.8, 4),  # retired
]
RETIRED = [
    "claude-opus-4-1-20250805",
    "claude-opus-4-20250514",
    "claude-sonnet-4-20250514",
    "claude-3-5-haiku-20241022",
]
MODELS = sorted({row[0] for row in PRICES} | set(RETIRED))
NONE = Tokens(0, 0, 0, 0, 0)

numbers = st.integers(0, 3_000_000)
counts = st.builds(Tokens, *[numbers] * 5)
garbage = st.none() | st.text(max_size=3) | st.floats() | st.lists(st.integers(), max_size=2) | st.integers(max_value=0)


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("row", PRICES, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_kind_of_token_costs_what_the_price_list_says(row):
    model, prompt, batch_input, batch_output, write_5m, write_1h, read, sync_input, sync_output = row
    used = Tokens(input=prompt, output=7_000, write_5m=110, write_1h=130, read=170)
    expected = (prompt * batch_input + 7_000 * batch_output + 110 * write_5m + 130 * write_1h + 170 * read) / 1e6
    batch, _ = cost(model, used)
    assert batch == near(expected)
    batch, sync = cost(model, Tokens(prompt, 7_000, 0, 0, 0))
    assert batch == near((prompt * batch_input + 7_000 * batch_output) / 1e6)
    assert sync == near((prompt * sync_input + 7_000 * sync_output) / 1e6)


@given(st.sampled_from(MODELS), counts)
def test_a_batch_costs_half_of_a_synchronous_answer_whatever_the_model_and_the_tokens(model, used):
    batch, sync = cost(model, used)
    assert batch == near(sync / 2)


@pytest.mark.parametrize("model", RETIRED)
def test_a_retired_model_costs_half_of_its_last_standard_price(model):
    batch, sync = cost(model, Tokens(10_000, 1_000, 0, 0, 0))
    assert 0 < batch == near(sync / 2)


@given(st.sampled_from(MODELS), counts, st.sampled_from([None, "global", "not_available", ""]))
def test_inference_in_the_us_costs_a_tenth_more_and_elsewhere_nothing_more(model, used, elsewhere):
    batch, sync = cost(model, used)
    assert cost(model, used, geo="us") == (near(1.1 * batch), near(1.1 * sync))
    assert cost(model, used, geo=elsewhere) == (batch, sync)


@pytest.mark.parametrize("model", ["claude-nobody-9", "", "gpt-5", "Claude", "model"])
def test_a_model_without_a_known_price_costs_none_and_not_nothing(model):
    assert cost(model, Tokens(1_000, 1_000, 0, 0, 0)) is None


@given(st.sampled_from(MODELS))
def test_an_answer_of_no_tokens_costs_nothing(model):
    assert cost(model, NONE) == (0.0, 0.0)


# Bands


@pytest.mark.parametrize(
    "used",
    [
        Tokens(100_001, 0, 0, 0, 0),
        Tokens(1, 0, 100_000, 0, 0),
        Tokens(1, 0, 0, 100_000, 0),
        Tokens(1, 0, 0, 0, 100_000),
        Tokens(25_001, 0, 25_000, 25_000, 25_000),
    ],
)
def test_the_band_is_chosen_by_all_tokens_of_the_prompt_cached_or_not(used):
    assert used.prompt == 100_001
    with_output = Tokens(used.input, 1_000, used.write_5m, used.write_1h, used.read)
    output = cost("claude-haiku-5-5", with_output)[0] - cost("claude-haiku-5-5", used)[0]
    assert output == pytest.approx(1_000 * 1.25 / 1e6)


def test_output_does_not_lift_a_short_prompt_into_the_band_of_long_ones():
    assert cost("claude-haiku-5-5", Tokens(1_000, 128_000, 0, 0, 0))[0] == near((1_000 * 0.05 + 128_000 * 0.25) / 1e6)


def test_every_band_that_the_librarys_data_knows_of_these_models_is_one_of_ours():
    starts = set()
    for model in next(provider for provider in data.providers if provider.id == "anthropic").models:
        dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
        for prices in [*(one.prices for one in dated), *(variant.prices for variant in model.price_variants or ())]:
            tiered = [value for value in vars(prices).values() if isinstance(value, TieredPrices)]
            starts |= {tier.start for value in tiered for tier in value.tiers}
    assert 100_000 in starts  # haiku 5.5: so that the search is known to find something
    assert starts <= set(BANDS)


# Reading a message's usage


def test_usage_is_read_as_the_api_gives_it():
    usage = {
        "input_tokens": 21,
        "output_tokens": 393,
        "cache_creation_input_tokens": 1_000,
        "cache_read_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
        "service_tier": "batch",
        "server_tool_use": {"web_search_requests": 1},
    }
    assert tokens(usage) == Tokens(input=21, output=393, write_5m=400, write_1h=600, read=50)
    assert tokens(usage).prompt == 1_071


def test_writes_without_detail_are_of_5_minutes():
    assert tokens({"cache_creation_input_tokens": 9}) == Tokens(0, 0, 9, 0, 0)
    assert tokens({"cache_creation_input_tokens": 9, "cache_creation": None}) == Tokens(0, 0, 9, 0, 0)


def test_detail_never_counts_more_than_the_total():
    usage = {"cache_creation_input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 5}}
    assert tokens(usage) == Tokens(0, 0, 0, 3, 0)


@given(
    st.dictionaries(
        st.sampled_from(
            ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "other"]
        ),
        garbage,
    ),
    st.none() | st.dictionaries(st.sampled_from(["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]), garbage),
)
def test_what_is_missing_null_negative_or_no_number_counts_as_nothing(usage, detail):
    assert tokens({**usage, "cache_creation": detail}) == NONE
    assert tokens(usage) == NONE


@given(st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), numbers, min_size=2), garbage)
def test_one_field_of_garbage_does_not_spoil_the_others(usage, value):
    read = tokens({**usage, "cache_read_input_tokens": value})
    assert (read.input, read.output, read.read) == (usage["input_tokens"], usage["output_tokens"], 0)
