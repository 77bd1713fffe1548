"""The connection that a client keeps between its calls: as safe as those that go back to the pool each time."""

from __future__ import annotations

import os
import threading

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_machine import running

from bakehouse import Client, connection
from bakehouse.connection import Held, connect
from bakehouse.contract import Keys
from bakehouse.inbox import Inbox

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def server(tmp_path):
    with running(tmp_path / "redis") as server:
        yield server


def url(server):
    return f"redis://127.0.0.1:{server.port}/0"


def in_the_inbox(server):
    return server.client().xlen("{bakehouse}:inbox")


def test_a_connection_that_the_server_closed_costs_no_record_and_adds_none(server):
    client = Client(url(server))
    for number in range(3):
        client.enqueue_record(GOOD)
        server.client().client_kill_filter(_type="normal", skipme=True)
        client.enqueue_record(GOOD)
        assert in_the_inbox(server) == 2 * (number + 1)


def test_a_connection_that_the_server_closed_is_noticed_before_anything_is_sent(server):
    shared = connect(url(server))
    shared.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)  # what is sent into it would be an error
    held = Held(shared)
    held.execute("PING")
    server.client().client_kill_filter(_type="normal", skipme=True)
    assert held.execute("PING") == b"PONG"


def test_one_thread_needs_one_connection_whatever_it_enqueues(server):
    client = Client(url(server))
    for _ in range(20):
        client.enqueue_record(GOOD)
        client.enqueue_records([{"params": GOOD}] * 3)
    with pytest.raises(redis.ResponseError):
        client._inbox._held.execute("NO SUCH COMMAND")
    client.enqueue_record(GOOD)
    assert len(server.client().client_list(_type="normal")) == 2  # and the one that asks


def test_threads_share_no_connection_within_a_command_and_keep_one_when_they_are_done(server):
    shared = connect(url(server))
    shared.connection_pool.max_connections = 8
    held, wrong = Held(shared), []

    def ask(mine):
        for number in range(300):
            if held.execute("ECHO", word := f"{mine}.{number}") != word.encode():
                wrong.append(word)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [shared.connection_pool.get_connection() for _ in range(7)]  # free for others


def test_what_is_thrown_away_keeps_no_connection(server):
    """As the relay's inbox, which is a new one each turn."""
    shared = connect(url(server))
    shared.connection_pool.max_connections = 2
    for _ in range(5):
        Inbox(shared, Keys()).append([(b"{}", b"{}")])
        assert shared.ping()


def test_a_forked_child_has_a_connection_of_its_own(server):
    held = Held(connect(url(server)))
    before = held.execute("CLIENT", "ID")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(held.execute("CLIENT", "ID")).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != before
    assert held.execute("CLIENT", "ID") == before
    os.close(reader)


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(server, monkeypatch):
    held = Held(connect(url(server)))

    def sent_and_interrupted(mine, command):
        mine.send_command(*command)
        raise KeyboardInterrupt

    held.execute("ECHO", "before")
    with monkeypatch.context() as patched:
        patched.setattr(connection, "_exchange", sent_and_interrupted)
        with pytest.raises(KeyboardInterrupt):
            held.execute("BLPOP", "nothing", "0.2")  # answered later than anybody looks for an answer
    assert held.execute("ECHO", "after") == b"after"


def test_what_was_interrupted_costs_the_pool_no_connection(server, monkeypatch):
    shared = connect(url(server))
    shared.connection_pool.max_connections = 1
    held = Held(shared)

    def interrupted(*_):
        raise KeyboardInterrupt

    for place in ("_is_sound", "_exchange"):
        held.execute("PING")
        with monkeypatch.context() as patched:
            patched.setattr(connection, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                held.execute("PING")
    assert shared.ping()
