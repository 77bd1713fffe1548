"""The official SDK against a Message Batches API: the emulator, or the real one.

With `BAKEHOUSE_CONFORMANCE_REAL=1` and `ANTHROPIC_API_KEY` set, the same promises are held against the real API: some
tiny requests to the cheapest model, at a cost far below a cent. What needs a scripted fault is skipped there.
"""

from __future__ import annotations

import os
import time

import anthropic
import pytest

from bakehouse_emulator import EmulatorOptions, running

REAL = os.environ.get("BAKEHOUSE_CONFORMANCE_REAL") == "1" and bool(os.environ.get("ANTHROPIC_API_KEY"))
REAL_LIMIT = 3600.0  # seconds that a real batch of two requests may take
MODEL = "claude-haiku-5-5"


class Subject:
    """The API under test, and how to get over the time a batch takes."""

    def __init__(self, server):
        self.server = server
        self.model = MODEL

    def client(self, key=None):
        if self.server is None:
            return anthropic.Anthropic(api_key=key, max_retries=0)
        return anthropic.Anthropic(api_key=key or "any-key", base_url=self.server.url, max_retries=0)

    def requests(self, *texts):
        return [
            {
                "custom_id": f"item-{place}",
                "params": {"model": self.model, "max_tokens": 5, "messages": [{"role": "user", "content": text}]},
            }
            for place, text in enumerate(texts)
        ]

    def until_ended(self, client, batch_id):
        if self.server is not None:
            self.server.advance(61)
        give_up = time.monotonic() + REAL_LIMIT
        while (batch := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
            assert time.monotonic() < give_up, f"batch {batch_id} did not end within {REAL_LIMIT:g} s"
            time.sleep(15)
        return batch


@pytest.fixture(scope="session")
def subject():
    if REAL:
        yield Subject(None)
        return
    with running(EmulatorOptions(speed=0)) as server:
        yield Subject(server)


@pytest.fixture(scope="session")
def client(subject):
    with subject.client() as made:
        yield made


@pytest.fixture(scope="session")
def batches(client):
    return client.messages.batches


@pytest.fixture
def faults(subject):
    """The emulator, to be told what goes wrong; its rules are gone after the test."""
    if subject.server is None:
        pytest.skip("the real API cannot be told to fail")
    yield subject.server
    subject.server.clear()


@pytest.fixture(scope="session")
def ended(subject, client, batches):
    """A batch of two requests that ended, one of which cannot run."""
    requests = subject.requests("Say yes.", "Say no.")
    requests[1]["params"]["max_tokens"] = 10_000_000
    return subject.until_ended(client, batches.create(requests=requests).id)
