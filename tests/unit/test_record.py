"""What the API would refuse hours later is refused at the call, by the name of the field and with the reason."""

from __future__ import annotations

import datetime
import json
from collections import OrderedDict
from enum import Enum
from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse import InvalidRecord, record
from bakehouse.contract import DEFAULT_API_VERSION
from bakehouse.record import build, digest, serialise

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "Bonjour"}]}
OLD_API = "2023-06-01"
LONE = "\ud83d"  # half of an emoji

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | text, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(text, values, max_size=6)
anything = st.recursive(
    scalars
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.floats()
    | st.dates()
    | st.integers()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


def changed(**fields):
    return {**GOOD, **fields}


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


def refusal(params=None, **options):
    with pytest.raises(InvalidRecord) as caught:
        build(GOOD if params is None else params, **options)
    assert str(caught.value) == f"{caught.value.field}: {caught.value.reason}"
    return caught.value


# What every request must have


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_a_missing_required_param_is_refused_by_name(name):
    error = refusal(without(name))
    assert (error.field, error.reason) == (f"params.{name}", "is missing")


@pytest.mark.parametrize("value", [0, -1, True, False, 1.5, 1.0, "256", None, [1]])
def test_max_tokens_that_is_no_whole_number_of_at_least_1_is_refused(value):
    error = refusal(changed(max_tokens=value))
    assert error.field == "params.max_tokens"
    assert "whole number of at least 1" in error.reason
    assert repr(value) in error.reason


def test_max_tokens_of_1_is_allowed():
    assert json.loads(build(changed(max_tokens=1)).params)["max_tokens"] == 1


@pytest.mark.parametrize("value", [[], (), None, "hello", b"hello", {"role": "user"}, 5])
def test_messages_that_are_no_list_with_a_message_are_refused(value):
    error = refusal(changed(messages=value))
    assert (error.field, error.reason) == ("params.messages", "must be a list with at least one message")


@pytest.mark.parametrize("value", ["", "   ", None, 5, ["claude-haiku-5-5"]])
def test_a_model_that_is_no_id_is_refused(value):
    error = refusal(changed(model=value))
    assert error.field == "params.model"
    assert "must be a model's id" in error.reason


@pytest.mark.parametrize(("value", "said"), [(None, "null"), ([], "list"), ("{}", "str"), (5, "int")])
def test_params_that_are_no_object_are_refused_with_what_they_are(value, said):
    with pytest.raises(InvalidRecord) as caught:
        build(value)
    assert caught.value.field == "params"
    assert caught.value.reason.endswith(f"not {said}")


def test_params_may_be_any_mapping_and_are_not_changed():
    given_params = MappingProxyType(GOOD)
    assert json.loads(build(given_params).params) == GOOD
    assert dict(given_params) == GOOD


def test_an_unknown_param_is_passed_on_untouched():
    assert json.loads(build(changed(brand_new={"a": [1, None]})).params)["brand_new"] == {"a": [1, None]}


# What a batch refuses


@pytest.mark.parametrize("value", [True, 1, "yes"])
def test_stream_is_refused(value):
    error = refusal(changed(stream=value))
    assert (error.field, error.reason) == ("params.stream", "a batch cannot stream; leave it out")


def test_stream_false_is_allowed():
    assert build(changed(stream=False)).params


@pytest.mark.parametrize(
    "name", ["speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "fallbacks"]
)
@pytest.mark.parametrize("value", ["fast", None, False])
def test_what_does_not_exist_in_a_batch_is_refused_whatever_its_value(name, value):
    error = refusal(changed(**{name: value}))
    assert error.field == f"params.{name}"
    assert "batch" in error.reason


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_params_are_refused_under_the_current_api_version(name):
    error = refusal(changed(**{name: 1}))
    assert error.field == f"params.{name}"
    assert DEFAULT_API_VERSION in error.reason


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_params_are_allowed_under_the_old_api_version(name):
    built = build(changed(**{name: 1}), api_version=OLD_API)
    assert json.loads(built.params)[name] == 1
    assert built.api_version == OLD_API


# What is no JSON


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("put", "field"),
    [
        (lambda x: {"thinking": x}, "params.thinking"),
        (lambda x: {"thinking": {"budget": [1, x]}}, "params.thinking.budget.1"),
        (lambda x: {"messages": [{"role": "user", "content": "null"}, {"cost": x}]}, "params.messages.1.cost"),
        (lambda x: {"tools": ({"a": None}, (x,))}, "params.tools.1.0"),
    ],
)
def test_nan_and_infinity_are_refused_with_the_path_to_them(value, put, field):
    error = refusal(changed(**put(value)))
    assert error.field == field
    assert "has no JSON form" in error.reason


def test_a_null_and_the_word_null_are_no_nan():
    assert build(changed(system="null", metadata=None, stop_sequences=["null", "NaN"])).params


@pytest.mark.parametrize("value", [LONE, f"a{LONE}b", [LONE], {"a": LONE}, {LONE: 1}])
def test_a_lone_surrogate_in_the_text_is_refused_by_the_params_name(value):
    error = refusal(changed(system=value))
    assert error.field == "params.system"
    assert "surrogate" in error.reason


def test_a_lone_surrogate_in_a_params_own_name_is_refused():
    assert refusal(changed(**{LONE: 1})).field == "params"


@pytest.mark.parametrize("key", [1, None, True, b"system", ("a",)])
def test_a_key_that_is_no_text_is_refused(key):
    error = refusal({**GOOD, key: 1})
    assert (error.field, error.reason) == ("params", f"keys must be text, not {key!r}")


@pytest.mark.parametrize("key", [1, None, True])
def test_a_key_that_is_no_text_is_refused_in_the_depth_too(key):
    error = refusal(changed(system=[{key: "x"}]))
    assert error.field == "params.system"
    assert "is not JSON" in error.reason


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), datetime.date(2026, 11, 21), 2**64, -(2**63) - 1])
def test_a_value_without_json_form_is_refused(value):
    error = refusal(changed(system=value))
    assert error.field == "params.system"
    assert error.reason.startswith("is not JSON")


def test_a_value_that_holds_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    assert refusal(changed(messages=endless)).field == "params.messages"


def test_a_nul_in_a_prompt_is_json_and_goes_through():
    assert json.loads(build(changed(system="a\x00b")).params)["system"] == "a\x00b"


def test_params_larger_than_a_batch_are_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(record, "MAX_PARAMS_BYTES", 2_000)
    size = len(build(changed(system="")).params)
    assert build(changed(system="x" * (2_000 - size)))
    error = refusal(changed(system="x" * (2_001 - size)))
    assert error.field == "params"
    assert "2,001" in error.reason
    assert "2,000" in error.reason


@given(anything | st.dictionaries(st.sampled_from([*GOOD, "stream", "system"]), anything))
def test_whatever_is_passed_as_params_the_answer_is_a_record_or_a_named_refusal(params):
    merged = {**GOOD, **params} if isinstance(params, dict) else params
    for candidate in (params, merged):
        try:
            built = build(candidate)
        except InvalidRecord as error:
            assert error.field.split(".")[0] == "params"
            assert error.reason
        else:
            assert json.loads(built.params)["model"] == built.model


def test_a_refusal_does_not_repeat_the_prompt():
    secret = "the patient's name is"
    for params in (
        changed(messages=secret),
        changed(messages=[{"role": "user", "content": secret, "x": float("nan")}]),
        changed(system=[secret, {1, 2}]),
        changed(system=secret, stream=True),
    ):
        assert secret not in str(refusal(params))


# custom_id and job


@pytest.mark.parametrize("length", [1, 2, 511, 512])
def test_a_custom_id_of_1_to_512_characters_is_kept_as_it_is(length):
    assert build(GOOD, custom_id="é" * length).custom_id == "é" * length


@pytest.mark.parametrize("length", [0, 513, 5_000])
def test_a_custom_id_of_another_length_is_refused_with_its_length(length):
    error = refusal(custom_id="x" * length)
    assert (error.field, error.reason) == ("custom_id", f"must have 1 to 512 characters, not {length}")


@pytest.mark.parametrize(("field", "limit"), [("custom_id", 512), ("job", 128)])
def test_a_nul_a_lone_surrogate_and_a_wrong_length_are_refused_by_name(field, limit):
    assert "NUL" in refusal(**{field: "a\x00b"}).reason
    assert "lone surrogate" in refusal(**{field: f"a{LONE}"}).reason
    assert refusal(**{field: f"a{LONE}"}).field == field
    assert f"1 to {limit}" in refusal(**{field: "x" * (limit + 1)}).reason
    assert build(GOOD, **{field: "x" * limit})


@pytest.mark.parametrize(("value", "said"), [(5, "int"), (b"x", "bytes"), (["x"], "list")])
@pytest.mark.parametrize("field", ["custom_id", "job"])
def test_an_id_that_is_no_text_is_refused_with_what_it_is(field, value, said):
    error = refusal(**{field: value})
    assert (error.field, error.reason) == (field, f"must be text, not {said}")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=512))
def test_any_other_text_is_a_custom_id(custom_id):
    assert build(GOOD, custom_id=custom_id).custom_id == custom_id


def test_records_without_a_custom_id_get_one_each_and_no_two_the_same():
    made = {build(GOOD).custom_id for _ in range(500)}
    assert len(made) == 500
    assert all(1 <= len(custom_id) <= 512 for custom_id in made)


# The other options


@pytest.mark.parametrize("value", [-1000, -1, 0, 1, 1000])
def test_a_priority_from_minus_1000_to_1000_is_kept(value):
    assert build(GOOD, priority=value).priority == value


@pytest.mark.parametrize("value", [-1001, 1001, True, False, 1.0, "5", None])
def test_any_other_priority_is_refused(value):
    error = refusal(priority=value)
    assert (error.field, error.reason) == ("priority", f"must be a whole number from -1000 to 1000, not {value!r}")


def test_betas_as_one_text_are_refused_with_the_list_that_was_meant():
    error = refusal(betas="output-300k-2026-03-24")
    assert (error.field, error.reason) == ("betas", "must be a list of names, such as ['output-300k-2026-03-24']")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\r\nx-api-key: b", "é", 5, None])
def test_a_beta_that_is_no_name_is_refused(name):
    error = refusal(betas=["files-api-2025-04-14", name])
    assert error.field == "betas"
    assert repr(name) in error.reason


def test_betas_are_kept_sorted_and_once_each():
    assert build(GOOD, betas=["b-2", "a-1", "b-2"]).betas == ("a-1", "b-2")
    assert build(GOOD, betas={"b-2", "a-1"}).betas == ("a-1", "b-2")


@pytest.mark.parametrize("value", ["myapp:save", "myapp.labels:save", "_a.b2.c_d:_e1"])
def test_a_sink_in_the_form_of_module_and_function_is_kept(value):
    assert build(GOOD, on_result=value).on_result == value


@pytest.mark.parametrize(
    "value", ["", "save", "myapp.save", ":save", "myapp:", "myapp:a.b", "my app:x", "1a:b", "a:b()", "a:b:c", 5, len]
)
def test_any_other_sink_is_refused(value):
    error = refusal(on_result=value)
    assert error.field == "on_result"
    assert "package.module:function" in error.reason


@given(objects.filter(lambda value: len(orjson.dumps(value)) <= record.MAX_METADATA_BYTES))
def test_metadata_is_kept_as_the_json_of_itself(metadata):
    assert json.loads(build(GOOD, metadata=metadata).metadata) == metadata


def test_metadata_of_16_kb_is_kept_and_one_byte_more_is_refused():
    wrapping = len('{"a":""}')
    assert len(build(GOOD, metadata={"a": "x" * (16_384 - wrapping)}).metadata) == 16_384
    error = refusal(metadata={"a": "x" * (16_385 - wrapping)})
    assert (error.field, error.reason) == ("metadata", "16,385 bytes as JSON; at most 16,384")


def test_the_size_of_metadata_is_that_of_its_bytes_and_not_of_its_characters():
    assert refusal(metadata={"a": "é" * 8_192}).field == "metadata"


@pytest.mark.parametrize("value", [[], "x", 5, [("a", 1)]])
def test_metadata_that_is_no_object_is_refused(value):
    assert refusal(metadata=value).field == "metadata"


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, {"a": LONE}, {1: 2}])
def test_metadata_that_is_no_json_is_refused(value):
    assert refusal(metadata=value).field.split(".")[0] == "metadata"


def test_metadata_is_no_part_of_what_is_sent():
    built = build(GOOD, metadata={"ticket": 42})
    assert b"ticket" not in built.params
    assert built.digest == build(GOOD).digest


# Serialised once


@given(objects)
def test_what_is_serialised_reads_back_as_the_same_object_in_the_same_order(params):
    body = serialise(params)
    assert json.dumps(json.loads(body)) == json.dumps(params)


@given(objects)
def test_params_that_are_no_plain_dict_are_serialised_to_the_same_bytes(params):
    class Name(str):
        """A kind of text, as an enumeration's values are."""

    assert serialise(MappingProxyType(params)) == serialise(params)
    assert serialise({Name(name): value for name, value in params.items()}) == serialise(params)


def test_a_dict_that_shows_other_values_than_it_holds_goes_out_as_it_shows_itself():
    class Form(dict):
        """As web frameworks have them: lists inside, the last of each outside."""

        def __getitem__(self, name):
            return super().__getitem__(name)[-1]

        def items(self):
            return [(name, self[name]) for name in self]

    assert json.loads(build(Form({name: [None, value] for name, value in GOOD.items()})).params) == GOOD
    ordered = OrderedDict(GOOD)
    ordered.move_to_end("model")
    assert list(json.loads(build(ordered).params)) == list(ordered)


def test_text_goes_out_as_utf8_and_not_as_escapes():
    assert "日本語 é 😀".encode() in build(changed(system="日本語 é 😀")).params


def test_a_record_holds_what_was_asked_for():
    built = build(
        GOOD,
        custom_id="ticket-42",
        job="triage",
        priority=5,
        betas=["b"],
        on_result="a:b",
        metadata={"t": 1},
        replace=True,
    )
    assert (built.job, built.custom_id, built.model) == ("triage", "ticket-42", "claude-haiku-5-5")
    assert (built.priority, built.betas, built.on_result, built.metadata) == (5, ("b",), "a:b", b'{"t":1}')
    assert (built.api_version, built.replace) == (DEFAULT_API_VERSION, True)
    assert json.loads(built.params) == GOOD


def test_a_record_of_params_alone_asks_for_nothing_special():
    built = build(GOOD)
    assert (built.job, built.priority, built.betas, built.api_version) == ("default", 0, (), DEFAULT_API_VERSION)
    assert (built.on_result, built.metadata, built.replace) == (None, None, False)


# The digest stands for what is asked


@given(objects, st.lists(st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True), max_size=3, unique=True))
def test_equal_requests_have_equal_digests_whatever_they_are_called(params, betas):
    one = build({**GOOD, "brand_new": params}, custom_id="a", job="x", betas=betas)
    two = build({**GOOD, "brand_new": params}, custom_id="b", job="y", betas=betas[::-1], priority=5, metadata={"m": 1})
    assert one.digest == two.digest
    assert len(one.digest) == 32
    assert int(one.digest, 16) >= 0


def test_the_digest_differs_when_params_betas_or_api_version_differ():
    asked = [
        build(GOOD),
        build(changed(max_tokens=257)),
        build(GOOD, betas=["a"]),
        build(GOOD, betas=["a", "b"]),
        build(GOOD, betas=["ab"]),
        build(GOOD, api_version=OLD_API),
        build(GOOD, api_version=OLD_API, betas=["a"]),
    ]
    assert len({one.digest for one in asked}) == len(asked)


def test_what_answers_to_more_names_than_it_tells_is_asked_by_name():
    class Headers(dict):
        """As HTTP libraries have them: any case will do."""

        def get(self, name, default=None):
            return {key.lower(): value for key, value in self.items()}.get(name, default)

    assert refusal(Headers(GOOD, Stream=True)).field == "params.stream"


def test_a_version_that_is_a_member_of_an_enumeration_is_its_value_in_the_digest():
    class Version(str, Enum):  # noqa: UP042 - StrEnum formats itself as its value, this one does not
        OLD = OLD_API

    assert build(GOOD, api_version=Version.OLD).digest == build(GOOD, api_version=OLD_API).digest
    digests = {digest(b"{}", ("of an enumeration",), version) for version in (Version.OLD, OLD_API)}
    assert len(digests) == 1


names = st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), max_size=3).map(tuple)
versions = st.sampled_from([DEFAULT_API_VERSION, OLD_API])


@given(st.tuples(objects, names, versions), st.tuples(objects, names, versions))
def test_two_digests_are_equal_only_for_equal_bytes_betas_and_version(one, two):
    first, second = ((serialise(params), betas, version) for params, betas, version in (one, two))
    assert (digest(*first) == digest(*second)) == (first == second)


# Checked without being built


@given(st.dictionaries(st.sampled_from([*GOOD, "stream", "temperature", "system"]), values) | values)
def test_what_is_checked_without_being_built_is_told_the_same(params):
    def told(call):
        try:
            call()
        except InvalidRecord as error:
            return str(error)
        return None

    read = orjson.loads(orjson.dumps(params))
    for asked in (read, {**GOOD, **read} if isinstance(read, dict) else read):
        for custom_id in ("a", "", 7):
            built = told(lambda asked=asked, custom_id=custom_id: build(asked, custom_id=custom_id))
            assert told(lambda asked=asked, custom_id=custom_id: record.check(asked, custom_id)) == built
