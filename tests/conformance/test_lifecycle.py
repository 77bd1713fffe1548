"""A batch from create to delete, as the SDK sees it."""

import json

import anthropic
import pytest


def test_a_created_batch_is_in_progress_with_every_request_processing(subject, batches):
    batch = batches.create(requests=subject.requests("Say one.", "Say two."))
    assert batch.type == "message_batch"
    assert batch.processing_status == "in_progress"
    assert batch.request_counts.processing == 2
    assert batch.request_counts.succeeded == batch.request_counts.errored == 0
    assert batch.results_url is None and batch.ended_at is None
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600
    assert batch._request_id.startswith("req_")
    batches.cancel(batch.id)


def test_an_ended_batch_shows_its_counts_and_where_its_results_are(ended):
    assert ended.processing_status == "ended"
    assert ended.ended_at > ended.created_at
    assert ended.results_url.endswith(f"/v1/messages/batches/{ended.id}/results")
    counts = ended.request_counts
    assert (counts.processing, counts.succeeded, counts.errored) == (0, 1, 1)


def test_every_request_has_one_result_found_by_its_custom_id(batches, ended):
    lines = {line.custom_id: line.result for line in batches.results(ended.id)}
    assert sorted(lines) == ["item-0", "item-1"]
    assert lines["item-0"].type == "succeeded"
    assert lines["item-1"].type == "errored"


def test_a_succeeded_result_holds_a_message_with_usage(batches, ended, subject):
    message = next(line.result.message for line in batches.results(ended.id) if line.result.type == "succeeded")
    assert message.id.startswith("msg_")
    assert message.role == "assistant" and message.model.startswith(subject.model)
    assert message.content[0].type == "text"
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message.usage.service_tier == "batch"


def test_an_errored_result_names_type_and_reason(batches, ended):
    error = next(line.result.error for line in batches.results(ended.id) if line.result.type == "errored")
    assert error.type == "error"
    assert error.error.type == "invalid_request_error"
    assert "max_tokens" in error.error.message


def test_results_are_one_json_object_a_line_without_blank_lines(client, ended):
    raw = client.get(f"/v1/messages/batches/{ended.id}/results", cast_to=str)
    lines = raw.split("\n")
    assert {json.loads(line)["custom_id"] for line in lines if line} == {"item-0", "item-1"}
    assert "" not in lines[:-1]


def test_results_read_twice_are_the_same(batches, ended):
    first = [line.to_json() for line in batches.results(ended.id)]
    assert first == [line.to_json() for line in batches.results(ended.id)]


def test_a_running_batch_has_no_results(subject, batches):
    batch = batches.create(requests=subject.requests("Say three."))
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)
    batches.cancel(batch.id)


def test_a_canceled_batch_ends_with_a_result_for_every_request(subject, client, batches):
    batch = batches.create(requests=subject.requests("Say four.", "Say five."))
    canceling = batches.cancel(batch.id)
    assert canceling.processing_status in ("canceling", "ended")
    assert canceling.cancel_initiated_at is not None
    done = subject.until_ended(client, batch.id)
    assert done.request_counts.processing == 0
    assert done.request_counts.canceled + done.request_counts.succeeded == 2
    assert len(list(batches.results(batch.id))) == 2


def test_a_deleted_batch_is_gone(subject, client, batches):
    batch = batches.create(requests=subject.requests("Say six."))
    batches.cancel(batch.id)
    subject.until_ended(client, batch.id)
    assert batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)
