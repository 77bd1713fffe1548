"""What a client asks beside batches: models, token counts, one synchronous answer."""

import anthropic
import pytest


def test_models_say_whether_they_take_batches(client, subject):
    model = client.models.retrieve(subject.model)
    assert model.lifecycle == "active"
    assert model.capabilities.batch.supported is True
    assert model.max_tokens > 0 and model.max_input_tokens > 0


def test_the_models_list_leaves_retired_models_out_unless_asked(client):
    offered = {model.lifecycle for model in client.models.list(limit=1000)}
    assert "retired" not in offered
    retired = list(client.models.list(limit=1000, lifecycle=["retired"]))
    assert all(model.lifecycle == "retired" for model in retired)


def test_tokens_of_a_prompt_can_be_counted(client, subject):
    messages = [{"role": "user", "content": "How long is this sentence?"}]
    assert client.messages.count_tokens(model=subject.model, messages=messages).input_tokens > 3


def test_one_message_is_answered_at_once(client, subject):
    messages = [{"role": "user", "content": "Say yes."}]
    message = client.messages.create(model=subject.model, max_tokens=5, messages=messages)
    assert message.content[0].text
    assert message.usage.service_tier == "standard"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-nobody-1", max_tokens=5, messages=[{"role": "user", "content": "Hello"}])
