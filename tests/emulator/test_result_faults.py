"""Rules that decide how single items end."""

import pytest


def _ended(server, api, *texts):
    batch = api.of(*(api.params(text) for text in texts))
    server.advance(60)
    return api.show(batch["id"])["request_counts"], api.results(batch["id"])


@pytest.mark.parametrize(
    "kind", ["api_error", "overloaded_error", "timeout_error", "rate_limit_error", "from_the_future"]
)
def test_an_item_can_be_errored_with_any_type(server, api, kind):
    server.rules({"on": "result", "fault": "errored", "prompt": "unlucky", "type": kind, "message": "not today"})
    counts, results = _ended(server, api, "unlucky", "fine")
    error = {"type": "error", "error": {"type": kind, "message": "not today"}, "request_id": None}
    assert results["item-0"] == {"type": "errored", "error": error}
    assert results["item-1"]["type"] == "succeeded"
    assert (counts["errored"], counts["succeeded"]) == (1, 1)
    assert server.totals()["billed"] == 1


@pytest.mark.parametrize("kind", ["expired", "canceled"])
def test_an_item_can_expire_or_be_canceled_alone(server, api, kind):
    server.rules({"on": "result", "fault": kind, "prompt": "unlucky"})
    counts, results = _ended(server, api, "unlucky", "fine")
    assert results["item-0"] == {"type": kind}
    assert counts[kind] == 1


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "pause_turn", "model_context_window_exceeded"])
def test_an_item_can_succeed_without_being_useful(server, api, reason):
    server.rules({"on": "result", "fault": reason})
    counts, results = _ended(server, api, "Hello")
    message = results["item-0"]["message"]
    assert (counts["succeeded"], message["stop_reason"]) == (1, reason)
    assert (message["stop_details"] is not None) == (reason == "refusal")
    assert server.totals()["billed"] == 1


def test_an_item_can_succeed_with_nothing_or_with_any_text(server, api):
    server.rules(
        {"on": "result", "fault": "empty", "prompt": "quiet"},
        {"on": "result", "fault": "text", "prompt": "loud", "text": '{"not": json'},
    )
    _, results = _ended(server, api, "quiet", "loud")
    assert results["item-0"]["message"]["content"] == []
    assert results["item-1"]["message"]["content"] == [{"type": "text", "text": '{"not": json'}]


def test_a_result_can_have_a_type_nobody_knows(server, api):
    server.rules({"on": "result", "fault": "unknown_type", "type": "postponed"})
    counts, results = _ended(server, api, "Hello")
    assert results["item-0"]["type"] == "postponed"
    assert sum(counts.values()) == 1


def test_a_share_of_inputs_fails_and_it_is_always_the_same(server, api):
    server.rules({"on": "result", "fault": "errored", "share": 0.25})
    texts = [f"prompt {n}" for n in range(400)]
    counts, first = _ended(server, api, *texts)
    assert 60 < counts["errored"] < 140
    _, second = _ended(server, api, *texts)
    assert {name: result["type"] for name, result in first.items()} == {
        name: result["type"] for name, result in second.items()
    }


def test_the_first_runs_of_an_input_fail_and_later_ones_succeed(server, api):
    server.rules({"on": "result", "fault": "errored", "type": "overloaded_error", "first_times": 2})
    kinds = [_ended(server, api, "Hello")[1]["item-0"]["type"] for _ in range(3)]
    assert kinds == ["errored", "errored", "succeeded"]


def test_a_rule_fires_as_often_as_it_may_and_counts(server, api):
    server.rules({"on": "result", "fault": "expired", "times": 2})
    counts, _ = _ended(server, api, "a", "b", "c", "d")
    assert (counts["expired"], counts["succeeded"]) == (2, 2)
    assert server.script()[0]["fired"] == 2


def test_credit_runs_out_until_the_rule_is_removed(server, api):
    text = "Your credit balance is too low to access the Anthropic API."
    server.rules({"on": "result", "fault": "errored", "type": "invalid_request_error", "message": text})
    _, results = _ended(server, api, "Hello")
    assert results["item-0"]["error"]["error"]["message"] == text
    server.clear()
    assert _ended(server, api, "Hello")[1]["item-0"]["type"] == "succeeded"


def test_results_already_there_do_not_change_with_the_rules(server, api):
    batch = api.create(3)
    server.advance(60)
    before = api.results(batch["id"])
    server.rules({"on": "result", "fault": "errored"})
    assert api.results(batch["id"]) == before
