"""What a client promises before Redis has a say: configuration, refusals, laziness, and how fast it tells that nobody is there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

import bakehouse
from bakehouse import Client, ConfigurationError, InboxUnavailable, InvalidRecord, enqueue_record, enqueue_records
from bakehouse.client import CHUNK_BYTES, CHUNK_RECORDS, default_client
from bakehouse.connection import locate

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "Bonjour"}]}
PRODUCER = Path(bakehouse.__file__).parents[1]


@pytest.fixture(autouse=True)
def fresh_client(nowhere, monkeypatch):
    """Nothing configured, nothing remembered from another test."""
    for name in list(os.environ):
        if name.startswith("BAKEHOUSE_"):
            monkeypatch.delenv(name)
    default_client.cache_clear()
    yield
    default_client.cache_clear()


@pytest.fixture
def dead_url():
    """A port that is taken but that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.mark.parametrize(
    "call",
    [
        lambda: Client().enqueue_record(GOOD),
        lambda: Client().close("triage", expected=1),
        lambda: enqueue_record(GOOD),
        lambda: enqueue_records([{"params": GOOD}]),
    ],
)
def test_with_nothing_configured_the_error_names_the_setting_and_the_command(call):
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert "BAKEHOUSE_REDIS_URL is not set" in str(caught.value)
    assert "bakehouse up" in str(caught.value)
    assert ".bakehouse" in str(caught.value)


def test_a_client_without_a_redis_is_no_mistake_before_it_needs_one(nowhere):
    Client()  # records that go into a session need none
    assert list(nowhere.iterdir()) == []


def test_a_client_that_could_not_be_made_is_tried_again_at_the_next_call(monkeypatch, dead_url):
    with pytest.raises(ConfigurationError):
        enqueue_record(GOOD)
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", dead_url)
    with pytest.raises(InboxUnavailable):
        enqueue_record(GOOD)


def test_the_url_given_goes_before_the_environment_and_that_before_the_embedded_server(monkeypatch, nowhere):
    home = nowhere / "data"
    home.mkdir()
    (home / "redis.url").write_text("unix:///embedded.sock\n")
    assert locate(None, home) == "unix:///embedded.sock"
    monkeypatch.setenv("BAKEHOUSE_DATA_DIR", str(home))
    assert locate() == "unix:///embedded.sock"
    monkeypatch.setenv("BAKEHOUSE_REDIS_URL", "redis://set")
    assert locate(None, home) == "redis://set"
    assert locate("redis://given", home) == "redis://given"


def test_an_embedded_server_is_looked_for_in_the_current_directory_by_default(nowhere):
    (nowhere / ".bakehouse").mkdir()
    (nowhere / ".bakehouse" / "redis.url").write_text("unix:///here.sock")
    assert locate() == "unix:///here.sock"


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:port"])
def test_a_url_that_is_none_of_redis_is_a_configuration_error_that_names_the_setting(url):
    with pytest.raises(ConfigurationError, match="BAKEHOUSE_REDIS_URL cannot be used"):
        Client(url)


def test_an_inbox_limit_that_is_no_number_is_a_configuration_error_that_names_the_setting(monkeypatch, dead_url):
    monkeypatch.setenv("BAKEHOUSE_MAX_INBOX_BYTES", "256 MB")
    with pytest.raises(
        ConfigurationError, match="BAKEHOUSE_MAX_INBOX_BYTES must be a whole number of bytes, not '256 MB'"
    ):
        Client(dead_url)


def test_a_redis_that_is_down_is_told_within_5_seconds(dead_url):
    client = Client(dead_url)  # connects on first use only
    started = time.monotonic()
    with pytest.raises(InboxUnavailable, match="Redis does not answer") as caught:
        client.enqueue_record(GOOD)
    assert time.monotonic() - started < 5.0
    assert caught.value.accepted == 0


def test_closing_a_job_while_redis_is_down_is_told_too(dead_url):
    with pytest.raises(InboxUnavailable):
        Client(dead_url).close("triage", expected=1)


def test_an_invalid_record_is_refused_before_redis_is_asked(dead_url):
    with pytest.raises(InvalidRecord) as caught:
        Client(dead_url).enqueue_record({**GOOD, "max_tokens": 0})
    assert caught.value.field == "params.max_tokens"
    assert caught.value.accepted == 0


def test_of_many_records_the_invalid_one_is_named_by_its_position(dead_url):
    records = [{"params": GOOD, "custom_id": str(n)} for n in range(5)]
    records[3]["params"] = {**GOOD, "max_tokens": 0}
    with pytest.raises(InvalidRecord) as caught:
        Client(dead_url).enqueue_records(records)
    assert caught.value.field == "records.3.params.max_tokens"
    assert caught.value.accepted == 0


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"custom_id": "a"}, "params is missing"),
        ({"params": GOOD, "custom_ids": "a"}, "unknown field 'custom_ids'"),
        ({**GOOD}, "unknown field 'max_tokens'"),
    ],
)
def test_of_many_records_one_with_a_field_missing_or_unknown_is_told(dead_url, record, reason):
    with pytest.raises(InvalidRecord) as caught:
        Client(dead_url).enqueue_records([{"params": GOOD}, record])
    assert (caught.value.field, caught.value.reason) == ("records.1", reason)


def test_an_endless_iterable_is_read_a_chunk_at_a_time(dead_url):
    taken = []
    with pytest.raises(InboxUnavailable) as caught:
        Client(dead_url).enqueue_records({"params": GOOD, "custom_id": str(taken.append(n) or n)} for n in count())
    assert len(taken) == CHUNK_RECORDS
    assert caught.value.accepted == 0


def test_large_records_are_read_until_a_call_is_large_enough(dead_url):
    taken = []
    large = {**GOOD, "system": "x" * (CHUNK_BYTES // 4)}
    with pytest.raises(InboxUnavailable):
        Client(dead_url).enqueue_records({"params": large, "custom_id": str(taken.append(n) or n)} for n in count())
    assert len(taken) == 4


@pytest.mark.parametrize("records", [1, CHUNK_RECORDS - 1, CHUNK_RECORDS])
def test_the_last_records_are_not_kept_back_because_they_fill_no_chunk(dead_url, records):
    with pytest.raises(InboxUnavailable):
        Client(dead_url).enqueue_records({"params": GOOD} for _ in range(records))


def test_no_records_at_all_are_enqueued_without_asking_redis(dead_url):
    assert Client(dead_url).enqueue_records([]) == 0


IMPORT = """
import sys
seen = []
SIDE_EFFECTS = {"socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.putenv", "os.fork", "os.remove"}
def watch(event, arguments):
    if event in SIDE_EFFECTS or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
        seen.append((event, str(arguments[:2])))
sys.addaudithook(watch)
import threading
import bakehouse
heavy = [name for name in ("celery", "kombu", "sqlalchemy", "sqlmodel", "pydantic", "anthropic") if name in sys.modules]
assert not seen, seen
assert not heavy, heavy
assert threading.active_count() == 1
"""


def test_the_import_opens_nothing_starts_nothing_and_brings_no_worker_parts(nowhere):
    environment = {"PYTHONPATH": str(PRODUCER), "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(nowhere.iterdir()) == []
