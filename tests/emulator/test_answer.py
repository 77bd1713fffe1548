"""What the emulated model says, and what it charges."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from bakehouse_emulator.answer import answer, last_user_text
from bakehouse_emulator.samples import reviews, tickets
from bakehouse_emulator.usage import prompt_tokens, usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["messages", "role", "content", "text", "type"]), inner)
    ),
)
PROMPTS = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "assistant"]),
                    "content": st.text()
                    | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})),
                }
            )
        )
    },
    optional={"system": st.text()},
)


@given(params=JSON)
def test_every_json_value_has_an_answer(params):
    assert answer(params)


@given(params=PROMPTS)
def test_the_same_prompt_has_the_same_answer(params):
    assert answer(params) == answer(dict(params))


@given(params=PROMPTS, text=st.text())
def test_usage_adds_up(params, text):
    found = usage(params, text, tier="batch", cache_hit=True)
    cached = found["cache_creation_input_tokens"] + found["cache_read_input_tokens"]
    assert found["input_tokens"] + cached == prompt_tokens(params)


def test_another_question_is_answered_by_its_digest():
    params = {"messages": [{"role": "user", "content": "first"}, {"role": "user", "content": "Why?"}]}
    assert answer(params) == "answer to " + hashlib.sha256(b"Why?").hexdigest()[:12]


def test_blocks_and_plain_text_are_the_same_question():
    blocks = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}, {"type": "text", "text": "b"}]
    assert last_user_text({"messages": [{"role": "user", "content": blocks}]}) == "a\nb"


def test_sample_reviews_are_answered_with_a_sentiment_and_every_one_occurs():
    assert {answer(line["params"]) for line in reviews(100)} == {"positive", "negative", "mixed"}


def test_sample_tickets_are_answered_with_a_queue_and_every_one_occurs():
    assert {answer(line["params"]) for line in tickets(100)} == {"billing", "shipping", "technical", "account"}


def test_samples_are_the_same_for_a_seed_and_their_ids_are_unique():
    assert list(reviews(60, seed=4)) == list(reviews(60, seed=4)) != list(reviews(60, seed=5))
    assert len({line["custom_id"] for line in tickets(2000)}) == 2000
    assert next(iter(reviews(1)))["custom_id"] == "review 2026-11-03 #0001"


def test_the_invalid_share_of_samples_does_not_run(server, api):
    lines = list(reviews(200, invalid=0.1))
    batch = api.of(*(line["params"] for line in lines))
    server.advance(60)
    kinds = [result["type"] for result in api.results(batch["id"]).values()]
    assert 8 < kinds.count("errored") < 40
    assert kinds.count("errored") == sum(line["params"]["max_tokens"] > 128_000 for line in lines)


def test_a_shared_prefix_is_written_to_the_cache_or_read_from_it(server, api):
    server.options({"cache_hit_rate": 0.5})
    system = [{"type": "text", "text": "rule " * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    batch = api.of(*(api.params(f"question {n}", system=system) for n in range(40)))
    server.advance(60)
    bills = [result["message"]["usage"] for result in api.results(batch["id"]).values()]
    assert all(bill["cache_read_input_tokens"] + bill["cache_creation_input_tokens"] == 1250 for bill in bills)
    assert all(
        bill["cache_creation"]["ephemeral_1h_input_tokens"] == bill["cache_creation_input_tokens"] for bill in bills
    )
    assert 5 < sum(bill["cache_read_input_tokens"] > 0 for bill in bills) < 35


def test_a_prefix_too_short_for_the_model_is_not_cached(server, api):
    batch = api.of(api.params("short", cache_control={"type": "ephemeral"}))
    server.advance(60)
    bill = api.results(batch["id"])["item-0"]["message"]["usage"]
    assert bill["cache_read_input_tokens"] == bill["cache_creation_input_tokens"] == 0
