"""A Redis of one's own by URL: password, db, prefix, TLS, what it can lose, and what is told when it refuses."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
import redis
from redis_machine import celery_at, certificate, running, tls_before
from structlog.testing import capture_logs

from bakehouse import Client, ConfigurationError, InboxUnavailable
from bakehouse.connection import connect
from bakehouse_worker import doctor, log
from bakehouse_worker.redis_server import RedisServer, check_at_start, examine, unusable

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "Bonjour"}]}
PASSWORD = "p/ss:w@rd?100%"
QUOTED = quote(PASSWORD, safe="")
KEPT = ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that wants a password."""
    with running(tmp_path_factory.mktemp("guarded") / "redis", f'requirepass "{PASSWORD}"', *KEPT) as server:
        yield server


@pytest.fixture(scope="module")
def careless(tmp_path_factory):
    """A server that evicts keys and keeps no file."""
    settings = ("maxmemory 100mb", "maxmemory-policy allkeys-lru", "appendonly no")
    with running(tmp_path_factory.mktemp("careless") / "redis", *settings) as server:
        yield server


@pytest.fixture(scope="module")
def secured(guarded, tmp_path_factory):
    """The port where the guarded server speaks TLS, and its certificate."""
    files = certificate(tmp_path_factory.mktemp("tls"))
    with tls_before(guarded.port, *files) as port:
        yield port, files[0]


def test_password_db_and_prefix_decide_where_records_and_messages_stand(guarded, monkeypatch):
    url = f"redis://:{QUOTED}@127.0.0.1:{guarded.port}/3"
    Client(url, prefix="shop").enqueue_record(GOOD)
    with celery_at(url, monkeypatch, "shop") as application:
        application.send_task("bakehouse.tick", queue="control")
    third = redis.Redis(port=guarded.port, password=PASSWORD, db=3, protocol=2, decode_responses=True)
    keys = set(third.keys())
    assert third.xlen("{shop}:inbox") == third.llen("shop:celery:control") == 1
    assert {key for key in keys if not key.startswith(("{shop}:", "shop:"))} == set()
    assert guarded.client(PASSWORD).dbsize() == 0


def test_a_unix_socket_may_have_a_password_and_a_db(tmp_path, monkeypatch):
    socket = tmp_path / "s"
    with running(tmp_path / "redis", f'requirepass "{PASSWORD}"', f"unixsocket {socket}") as server:
        url = f"unix://:{QUOTED}@{socket}?db=2"
        Client(url).enqueue_record(GOOD)
        with celery_at(url, monkeypatch) as application:
            application.send_task("bakehouse.tick", queue="control")
        second = redis.Redis(port=server.port, password=PASSWORD, db=2, protocol=2)
        assert second.xlen("{bakehouse}:inbox") == second.llen("bakehouse:celery:control") == 1


def test_tls_carries_records_and_messages_to_a_server_whose_certificate_is_trusted(guarded, secured, monkeypatch):
    port, authority = secured
    url = f"rediss://:{QUOTED}@localhost:{port}/4?ssl_ca_certs={authority}"
    Client(url).enqueue_record(GOOD)
    with celery_at(url, monkeypatch) as application:
        application.send_task("bakehouse.tick", queue="control")
    fourth = redis.Redis(port=guarded.port, password=PASSWORD, db=4, protocol=2)
    assert fourth.xlen("{bakehouse}:inbox") == fourth.llen("bakehouse:celery:control") == 1


def test_a_certificate_that_is_not_trusted_is_told_and_nothing_is_sent(guarded, secured):
    url = f"rediss://:{QUOTED}@localhost:{secured[0]}/5"
    with pytest.raises(InboxUnavailable, match=r"certificate is not trusted; ssl_ca_certs=FILE") as caught:
        Client(url).enqueue_record(GOOD)
    assert PASSWORD not in str(caught.value)
    assert redis.Redis(port=guarded.port, password=PASSWORD, db=5, protocol=2).dbsize() == 0


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_a_wrong_or_missing_password_is_told_without_showing_it(guarded, login):
    url = f"redis://{login}127.0.0.1:{guarded.port}/0"
    with pytest.raises(InboxUnavailable, match="Redis refuses the password in BAKEHOUSE_REDIS_URL") as caught:
        Client(url).enqueue_record(GOOD)
    assert "wrong" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="Redis refuses the password"):
        check_at_start(connect(url), log.logger("redis"))


def test_a_replica_is_told_and_the_next_record_finds_the_master_again(tmp_path):
    with running(tmp_path / "redis") as server:
        client = Client(f"redis://127.0.0.1:{server.port}/0")
        client.enqueue_record(GOOD)
        server.client().replicaof("127.0.0.1", "1")
        with pytest.raises(InboxUnavailable, match=r"replica and takes no writes \(READONLY\)"):
            client.enqueue_record(GOOD)
        assert "names a replica" in str(warnings_of(server))
        server.client().replicaof("NO", "ONE")
        client.enqueue_record(GOOD)
        assert server.client().xlen("{bakehouse}:inbox") == 2


def warnings_of(server, password=None):
    login = f":{quote(password, safe='')}@" if password else ""
    with capture_logs() as logs:
        check_at_start(connect(f"redis://{login}127.0.0.1:{server.port}/0"), log.logger("redis"))
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    return [entry["reason"] for entry in logs]


def test_a_server_that_keeps_what_it_is_given_is_not_complained_of(guarded):
    assert warnings_of(guarded, PASSWORD) == []
    server = examine(connect(f"redis://:{QUOTED}@127.0.0.1:{guarded.port}/0"))
    assert (server.policy, server.append_only, server.fsync) == ("noeviction", True, "everysec")
    assert unusable(server) is None


def test_a_server_that_evicts_and_keeps_no_file_is_told_at_start_and_by_the_doctor(careless, world):
    evicts, forgets = warnings_of(careless)
    assert "allkeys-lru" in evicts and "set noeviction" in evicts
    assert "set appendonly yes" in forgets
    url = f"redis://127.0.0.1:{careless.port}/0"
    found = {finding.check: finding for finding in doctor.examine(world.worker(redis_url=url))}
    assert found["redis policy"].ok is False
    assert "set noeviction" in found["redis policy"].told
    assert "loses everything in the inbox (fsync never)" in found["redis durability"].told
    assert found["redis version"].ok is True


def test_a_server_that_allows_no_config_is_examined_by_what_it_tells(guarded):
    admin = guarded.client(PASSWORD)
    admin.acl_setuser("managed", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-config"])
    server = examine(connect(f"redis://managed:secret@127.0.0.1:{guarded.port}/0"))
    assert (server.policy, server.append_only, server.fsync) == ("noeviction", True, None)


def test_a_server_that_allows_no_info_is_told_and_used(guarded):
    admin = guarded.client(PASSWORD)
    admin.acl_setuser("narrow", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    with capture_logs() as logs:
        check_at_start(connect(f"redis://narrow:secret@127.0.0.1:{guarded.port}/0"), log.logger("redis"))
    assert [entry["event"] for entry in logs] == ["redis not checked"]


def test_a_server_that_is_down_at_start_is_waited_for(tmp_path):
    with running(tmp_path / "redis") as server:
        pass
    assert "Redis does not answer" in warnings_of(server)[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "6.0.16"}, "Redis 6.0.16 is too old: .* 6.2 or later"),
        ({"version": "5.0"}, "too old"),
        ({"mode": "cluster"}, "a Redis Cluster, which Celery cannot use"),
        ({"mode": "sentinel"}, "names a Sentinel as if it were a Redis"),
    ],
)
def test_a_server_that_cannot_work_is_refused_in_one_sentence(monkeypatch, changes, reason):
    server = replace(RedisServer("7.2.4", "noeviction", True, "always", False, "standalone"), **changes)
    monkeypatch.setattr("bakehouse_worker.redis_server.examine", lambda _: server)
    with pytest.raises(ConfigurationError, match=reason):
        check_at_start(connect("redis://"), log.logger("redis"))
