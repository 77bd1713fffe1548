"""Where Redis is, read from BAKEHOUSE_REDIS_URL: one reading of the URL, which the producer and Celery's broker both build on.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]                      rediss:// for TLS
    unix://[USER:PASSWORD@]/PATH[?db=DB]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,...]/SERVICE[/DB]   rediss+sentinel:// for TLS to all

No message quotes what may be a part of the password: with a `/` or `?` left unescaped in it, a "port" or "db" is one.
"""

from __future__ import annotations

import difflib
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from bakehouse.errors import ConfigurationError

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SENTINEL_PORT, _REDIS_PORT = 26379, 6379
_ESCAPE = "in a user or password, write / as %2F, ? as %3F and % as %25"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL of Redis, read. `hosts` are Sentinels if there is a `service`; `path` is a unix socket's.

    `tls` (None: no TLS) and `options` hold keyword arguments of a redis-py connection. No repr shows a password.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def parse(url: str) -> Address:
    """Read a URL of Redis; connects to nothing. Raises ConfigurationError, one sentence without any password."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in _SCHEMES:
        shown = f", not {scheme}://" if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else ""
        raise refused(f"it must start with one of {', '.join(f'{name}://' for name in _SCHEMES)}{shown}")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    secure, sentinel = scheme.startswith("rediss"), scheme.endswith("+sentinel")
    options = _parameters(query, secure, sentinel)
    by_query = {name: options.pop(name, None) for name in ("db", "username", "password", *_SENTINEL)}
    tls = {name: options.pop(name) for name in _TLS if name in options}
    fields: dict[str, Any] = {"options": options, **by_query, "tls": tls if secure else None}
    fields["username"] = unquote(username) or by_query["username"]
    fields["password"] = unquote(password) or by_query["password"]
    if scheme == "unix":
        if hosts or not path:
            raise refused("a unix socket is given as unix:///PATH, with three slashes")
        return Address(**fields | {"path": unquote(slash + path), "db": by_query["db"] or 0})
    if sentinel:
        service, _, path = path.partition("/")
        if not service:
            raise refused("a Sentinel's URL names the service: redis+sentinel://HOST:26379,HOST:26379/SERVICE")
        fields["service"] = unquote(service)
    in_path = _db(path.strip("/") or "0")
    fields["db"] = in_path if by_query["db"] is None else by_query["db"]
    return Address(hosts=_hosts(hosts, sentinel), **fields)


def refused(reason: str) -> ConfigurationError:
    """Return the error for a URL that cannot be used; `reason` must quote nothing that may be a password."""
    return ConfigurationError(f"BAKEHOUSE_REDIS_URL cannot be used: {reason}")


def _hosts(text: str, sentinel: bool) -> tuple[tuple[str, int], ...]:
    default = _SENTINEL_PORT if sentinel else _REDIS_PORT
    named = text.split(",") if sentinel else [text]
    if sentinel and not all(named):
        raise refused("a Sentinel's URL names one host or more: redis+sentinel://HOST:26379,HOST:26379/SERVICE")
    return tuple(_host(part, default) for part in named)


def _host(text: str, default_port: int) -> tuple[str, int]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    host, port = bracketed.groups() if bracketed else (text.partition(":")[0], text.partition(":")[2] or None)
    if port is None:
        return unquote(host) or "localhost", default_port
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise refused(f"its port is no number from 1 to 65535 ({_ESCAPE})")
    return unquote(host) or "localhost", int(port)


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise refused(f"its db is no whole number such as 0 ({_ESCAPE})")
    return int(text)


def _parameters(query: str, secure: bool, sentinel: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in _PARAMETERS:
            near = difflib.get_close_matches(name, _PARAMETERS, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else f" ({_ESCAPE})"
            raise refused(f"one of its parameters is none of {', '.join(_PARAMETERS)}{hint}")
        if name in _TLS and not secure:
            raise refused(f"{name} is for TLS: write {'rediss+sentinel' if sentinel else 'rediss'}://")
        if name in _SENTINEL and not sentinel:
            raise refused(f"{name} is for Sentinels: write redis+sentinel://")
        try:
            found[name] = _PARAMETERS[name](unquote(value))
        except ValueError:
            raise refused(f"its parameter {name} has a value that makes no sense") from None
    return found


def _verify_mode(text: str) -> ssl.VerifyMode:
    name = f"CERT_{text.upper().removeprefix('CERT_')}"
    if name not in ssl.VerifyMode.__members__:
        raise ValueError
    return ssl.VerifyMode[name]


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "yes", "1", "false", "no", "0"):
        raise ValueError
    return text.lower() in ("true", "yes", "1")


def _seconds(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise ValueError
    return float(text)


_TLS: dict[str, Callable[[str], Any]] = {
    "ssl_cert_reqs": _verify_mode,
    "ssl_check_hostname": _truth,
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_ciphers": str,
}
_SENTINEL: dict[str, Callable[[str], Any]] = {"sentinel_username": str, "sentinel_password": str}
_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "db": _db,
    "username": str,
    "password": str,
    "client_name": str,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "health_check_interval": int,
    **_TLS,
    **_SENTINEL,
}
