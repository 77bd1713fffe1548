"""BAKEHOUSE_REDIS_URL in the form that Celery's broker wants: the same server, db, password, TLS and Sentinels as the inbox."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import quote

from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from bakehouse.address import Address, parse
from bakehouse.connection import SENTINEL_TIMEOUT


class Broker(NamedTuple):
    """Celery's `broker_url`, what to add to `broker_transport_options`, and `broker_use_ssl` (None: no TLS)."""

    url: str
    transport_options: dict[str, Any]
    use_ssl: dict[str, Any] | None


def broker(url: str) -> Broker:
    """Return the broker at a URL of Redis. Raises ConfigurationError for a URL that cannot be used.

    Of Sentinels kombu wants one URL each, all with what the master wants. TLS goes by `use_ssl` alone: kombu's URL knows some of
    its parameters only, takes no parameters at all to mean "check no certificate", and Flower reads the setting, not the URL.
    """
    address = parse(url)
    use_ssl = None if address.tls is None else {"ssl_cert_reqs": ssl.CERT_REQUIRED, **address.tls}
    options = dict(address.options)
    login = _login(address)
    if address.path is not None:
        db = f"?virtual_host={address.db}" if address.db else ""
        return Broker(f"redis+socket://{login}/{quote(address.path.lstrip('/'))}{db}", options, use_ssl)
    scheme = "sentinel" if address.service is not None else "redis" if use_ssl is None else "rediss"
    urls = [f"{scheme}://{login}{_bracketed(host)}:{port}/{address.db}" for host, port in address.hosts]
    if address.service is not None:
        options |= {"master_name": address.service, "sentinel_kwargs": _to_sentinels(address, use_ssl)}
    return Broker(";".join(urls), options, use_ssl)


class _Hidden(UsernamePasswordCredentialProvider):
    """A password that neither a repr nor Celery's answer to `inspect stats`, which Flower shows, has in it."""

    def __json__(self) -> str:
        return "(hidden)"


class _Once(Retry):
    """No second try: the next Sentinel is asked instead."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    def __json__(self) -> str:
        return "never"


def _to_sentinels(address: Address, use_ssl: dict[str, Any] | None) -> dict[str, Any]:
    kwargs: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "socket_timeout": SENTINEL_TIMEOUT,
        "retry": _Once(),
    }
    if address.sentinel_password is not None:
        kwargs["credential_provider"] = _Hidden(address.sentinel_username, address.sentinel_password)
    if use_ssl is not None:
        kwargs |= {"ssl": True, **use_ssl}
    return kwargs


def _login(address: Address) -> str:
    username, password = (quote(part or "", safe="") for part in (address.username, address.password))
    return f"{username}{':' * bool(password)}{password}@" if username or password else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
