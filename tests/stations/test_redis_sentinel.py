"""A master, its replica and a Sentinel, as real processes: the master is killed once, in `failover`, and what follows is looked at."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from redis_machine import Server, celery_at, until

from bakehouse import Client, InboxUnavailable
from bakehouse.connection import connect
from bakehouse_worker.redis_server import examine

GOOD = {"model": "claude-haiku-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "Bonjour"}]}
PASSWORD, SECRET = "of-the-servers", "of-the-sentinel"
GUARDED = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "appendonly yes", "repl-diskless-sync-delay 0")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A master that a replica follows, and a Sentinel that knows both."""
    home = tmp_path_factory.mktemp("watched")
    servers = [Server(home / "master", *GUARDED)]
    try:
        master = servers[0].client(PASSWORD)
        servers.append(Server(home / "replica", *GUARDED, f"replicaof 127.0.0.1 {servers[0].port}"))
        until(lambda: servers[1].client(PASSWORD).info()["master_link_status"] == "up")
        watching = (
            f"requirepass {SECRET}",
            f"sentinel monitor bakery 127.0.0.1 {servers[0].port} 1",
            f"sentinel auth-pass bakery {PASSWORD}",
            "sentinel down-after-milliseconds bakery 60000",  # a busy machine is no outage
            "sentinel failover-timeout bakery 4000",
        )
        servers.append(Server(home / "sentinel", *watching, sentinel=True))
        until(lambda: servers[2].client(SECRET).sentinel_master("bakery")["num-slaves"] == 1)
        until(lambda: master.info()["connected_slaves"] == 1)
        yield SimpleNamespace(master=servers[0], replica=servers[1], sentinel=servers[2])
    finally:
        for server in servers:
            server.kill()


def url(watched, secret=SECRET, service="bakery"):
    # the first of the Sentinels is not there: port 1 has no listener
    hosts = f"127.0.0.1:1,127.0.0.1:{watched.sentinel.port}"
    return f"redis+sentinel://:{PASSWORD}@{hosts}/{service}/2?sentinel_password={secret}"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"secret": "wrong"}, "the Sentinels refuse the sentinel_password in BAKEHOUSE_REDIS_URL"),
        ({"service": "butchery"}, "no Sentinel in BAKEHOUSE_REDIS_URL names a master"),
    ],
)
def test_what_the_sentinels_refuse_or_do_not_know_is_told_without_a_password(watched, changes, told):
    with pytest.raises(InboxUnavailable, match=told) as caught:
        Client(url(watched, **changes)).enqueue_record(GOOD)
    assert not any(word in str(caught.value) for word in (PASSWORD, SECRET, "wrong"))


def patience(watched, milliseconds):
    """How long the Sentinel waits before it takes a server for dead."""
    words = ("SENTINEL", "SET", "bakery", "down-after-milliseconds", str(milliseconds))
    watched.sentinel.client(SECRET).execute_command(*words)


@pytest.fixture(scope="module")
def failover(watched):
    """Ten records and a message before the master is killed, then a new master; the client and the application live on."""
    with pytest.MonkeyPatch.context() as patched, celery_at(url(watched), patched) as application:
        client = Client(url(watched))
        for number in range(10):
            client.enqueue_record(GOOD, custom_id=f"before {number}")
        application.send_task("bakehouse.tick", queue="control")
        assert watched.master.client(PASSWORD).wait(1, 10_000) == 1  # replicated
        patience(watched, 400)
        watched.master.kill()
        until(lambda: watched.replica.client(PASSWORD).info()["role"] == "master")
        until(lambda: watched.sentinel.client(SECRET).sentinel_master("bakery")["port"] == watched.replica.port)
        patience(watched, 60_000)
        until(lambda: watched.sentinel.client(SECRET).sentinel_master("bakery")["flags"] == "master")
        yield SimpleNamespace(client=client, application=application, now=connect(url(watched)))


def test_a_failover_is_survived_by_the_same_client(failover):
    failover.client.enqueue_record(GOOD, custom_id="after")
    entries = [fields[b"h"] for _, fields in failover.now.xrange("{bakehouse}:inbox")]
    for custom_id in (*(f"before {number}" for number in range(10)), "after"):
        assert sum(f'"{custom_id}"'.encode() in header for header in entries) == 1


def test_no_connection_to_a_master_is_kept_out_of_the_pool_that_knows_whether_it_still_is_one(failover):
    held = failover.client._inbox._held
    held.execute("PING")
    assert held._idle == []


def test_a_failover_is_survived_by_celery(failover):
    assert failover.now.llen("bakehouse:celery:control") == 1
    failover.application.send_task("bakehouse.tick", queue="control")
    assert failover.now.llen("bakehouse:celery:control") == 2


def test_the_master_that_sentinels_name_is_examined(failover):
    server = examine(failover.now)
    assert (server.replica, server.mode, server.append_only) == (False, "standalone", True)
