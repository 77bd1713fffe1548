"""What a URL of Redis means, to the inbox and to Celery's broker alike, and that no error ever shows a password."""

from __future__ import annotations

import json
import ssl
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from kombu.utils.json import dumps
from kombu.utils.url import url_to_parts

from bakehouse import ConfigurationError
from bakehouse.address import Address, parse
from bakehouse.connection import connect
from bakehouse_worker.broker import broker

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
HOST = st.sampled_from(["localhost", "10.0.0.1", "redis-1.example.com", "[::1]"])
PORT = st.integers(1, 65_535)
DB = st.integers(0, 99)


def login(user, password):
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


@given(TEXT, TEXT, HOST, PORT, DB)
def test_user_password_host_port_and_db_are_the_same_to_the_inbox_and_to_celery(user, password, host, port, db):
    url = f"redis://{login(user, password)}{host}:{port}/{db}"
    address = parse(url)
    assert (address.username, address.password, address.db) == (user, password, db)
    assert address.hosts == ((host.strip("[]"), port),)
    kwargs = connect(url).connection_pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == (user, password, db)
    kombu = Connection(broker(url).url)
    assert (kombu.userid, kombu.password, kombu.virtual_host) == (user, password, str(db))
    assert (kombu.hostname, kombu.port) == (host.strip("[]"), port)


@given(TEXT, TEXT, TEXT, TEXT, st.lists(st.tuples(HOST, PORT), min_size=1, max_size=3), DB)
def test_sentinels_are_the_same_to_the_inbox_and_to_celery(user, password, service, secret, hosts, db):
    named = ",".join(f"{host}:{port}" for host, port in hosts)
    url = f"redis+sentinel://{login(user, password)}{named}/{quote(service, safe='')}/{db}"
    url += f"?sentinel_password={quote(secret, safe='')}"
    address = parse(url)
    wanted = tuple((host.strip("[]"), port) for host, port in hosts)
    assert (address.hosts, address.service, address.db) == (wanted, service, db)
    assert (address.username, address.password, address.sentinel_password) == (user, password, secret)
    pool = connect(url).connection_pool
    assert pool.service_name == service
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in asked] == list(wanted)
    assert {one["credential_provider"].get_credentials() for one in asked} == {(secret,)}
    found = broker(url)
    assert found.transport_options["master_name"] == service
    given = found.transport_options["sentinel_kwargs"]["credential_provider"]
    assert given.get_credentials() == (secret,)
    for one, host in zip(found.url.split(";"), wanted, strict=True):
        kombu = Connection(one)
        assert (kombu.transport_cls, kombu.hostname, kombu.port) == ("sentinel", *host)
        assert (kombu.userid, kombu.password, kombu.virtual_host) == (user, password, str(db))


@given(TEXT, TEXT.filter(lambda path: not path.startswith("/")), DB)
def test_a_unix_socket_with_a_password_and_a_db_is_the_same_to_the_inbox_and_to_celery(password, path, db):
    url = f"unix://:{quote(password, safe='')}@/{quote(path)}?db={db}"
    assert (parse(url).path, parse(url).password, parse(url).db) == (f"/{path}", password, db)
    kombu = Connection(broker(url).url)
    assert kombu.transport_cls == "redis"
    socket = url_to_parts(kombu.hostname)
    assert (socket.scheme, socket.path, socket.password) == ("socket", path, password)
    assert int(socket.query.get("virtual_host", 0)) == db


def test_what_is_not_said_has_its_usual_value():
    assert parse("redis://") == Address(hosts=(("localhost", 6379),))
    assert parse("redis://cache/") == Address(hosts=(("cache", 6379),))
    assert parse("redis://cache?db=3").db == parse("redis://cache/7?db=3").db == 3
    assert parse("redis://only-a-user@cache").username == "only-a-user"
    assert parse("redis+sentinel://one,two:7/bakery").hosts == (("one", 26379), ("two", 7))
    assert parse("redis://cache?socket_timeout=5&client_name=shop").options == {
        "socket_timeout": 5.0,
        "client_name": "shop",
    }


def test_tls_checks_the_certificate_unless_told_otherwise(tmp_path):
    authority = tmp_path / "ca.pem"
    authority.touch()
    strict, lax = f"rediss://cache?ssl_ca_certs={authority}", "rediss://cache?ssl_cert_reqs=none"
    assert broker("rediss://cache").use_ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert broker(strict).use_ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(authority)}
    assert broker("rediss://cache?ssl_cert_reqs=CERT_NONE").use_ssl == {"ssl_cert_reqs": ssl.CERT_NONE}
    assert broker("redis://cache").use_ssl is None
    made = [connect(url).connection_pool.make_connection() for url in ("rediss://cache", strict, lax)]
    assert [one.cert_reqs for one in made] == [ssl.CERT_REQUIRED, ssl.CERT_REQUIRED, ssl.CERT_NONE]
    assert made[1].ca_certs == str(authority)
    to_sentinels = broker(f"rediss+sentinel://one/bakery?ssl_ca_certs={authority}").transport_options["sentinel_kwargs"]
    assert (to_sentinels["ssl"], to_sentinels["ssl_ca_certs"]) == (True, str(authority))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://cache", "must start with one of redis://.*, not http://"),
        ("cache:6379", "must start with one of redis://"),
        ("redis://cache:port", "its port is no number"),
        ("redis://cache:0", "its port is no number"),
        ("redis://cache:65536", "its port is no number"),
        ("redis://cache:6379/first", "its db is no whole number"),
        ("redis://cache:6379/1/2", "its db is no whole number"),
        ("redis://cache?db=-1", "its parameter db has a value that makes no sense|its db is no whole number"),
        ("redis://cache?socket_timeout=soon", "its parameter socket_timeout has a value that makes no sense"),
        ("rediss://cache?ssl_cert_reqs=perhaps", "its parameter ssl_cert_reqs has a value that makes no sense"),
        ("rediss://cache?ssl_ca_cert=/ca.pem", "did you mean ssl_ca_certs"),
        ("rediss://cache?ssl_ca_certs=/not/there.pem", "ssl_ca_certs names /not/there.pem, which is not there"),
        ("redis://cache?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for TLS: write rediss://"),
        ("redis://cache?sentinel_password=x", "sentinel_password is for Sentinels"),
        ("redis+sentinel://one:26379", "names the service"),
        ("redis+sentinel://one:26379/", "names the service"),
        ("redis+sentinel:///bakery", "names one host or more"),
        ("redis+sentinel://one,/bakery", "names one host or more"),
        ("redis+sentinel://one:26379/bakery/first", "its db is no whole number"),
        ("unix://path", "three slashes"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_sentence_that_says_what_is_wrong(url, reason):
    with pytest.raises(ConfigurationError, match=f"BAKEHOUSE_REDIS_URL cannot be used: .*({reason})"):
        connect(url)


SECRET = "Zq7"
SPOILT = st.sampled_from(
    [
        "redis://:12{}@cache:port/0",
        "redis://:{}/cut@cache:6379/0",
        "redis://:12/{}@cache:6379/0",
        "redis://:12?{}@cache:6379/0",
        "redis://:{}@cache/first",
        "redis://:{}@cache?ssl_ca_cert=1",
        "redis+sentinel://:{}@cache",
        "redis+sentinel://cache/bakery?sentinel_pasword={}",
        "user:{}@cache:6379",
        ":{}@redis://cache",
        "http://:{}@cache",
        "redis://:{}@[::1:6379/0",
        "redis://:{}@cache?socket_timeout={}",
    ]
)


@given(SPOILT, st.text(st.sampled_from("/?#[]@:%&=;, \n\u2100"), max_size=4))
def test_no_refusal_of_a_url_shows_a_password(form, oddity):
    url = form.replace("{}", f"{oddity}{SECRET}{oddity}")
    try:
        connect(url)
    except ConfigurationError as error:
        assert SECRET not in str(error)
        assert error.__cause__ is None


def test_neither_a_repr_nor_celerys_answer_to_inspect_shows_a_password():
    url = "redis+sentinel://user:Zq7@one,two/bakery?sentinel_password=Xy9"
    found, client = broker(url), connect(url)
    kombu = Connection(found.url, transport_options=found.transport_options)
    told = kombu.info()
    assert "Xy9" not in dumps({**told, "password": None, "alternates": None})
    assert json.loads(dumps(found.transport_options))["sentinel_kwargs"]["credential_provider"] == "(hidden)"
    for shown in (repr(parse(url)), repr(client), repr(client.connection_pool), kombu.as_uri(), repr(kombu)):
        assert "Zq7" not in shown and "Xy9" not in shown
