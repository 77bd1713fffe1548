"""Where the API is and with which key: the SDK's own variables, from the environment or `.env`. Needs no SDK."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from dotenv import dotenv_values

from bakehouse import ConfigurationError

PUBLIC_ORIGIN = "https://api.anthropic.com"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One origin and one key (or token, never both). The secrets are in no repr."""

    origin: str
    key: str | None = field(repr=False)
    token: str | None = field(repr=False)


def find() -> Credentials:
    """Read ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN. Raises ConfigurationError if one is missing or wrong."""
    where, key, token = origin(), _variable("ANTHROPIC_API_KEY"), _variable("ANTHROPIC_AUTH_TOKEN")
    if not (key or token):
        raise ConfigurationError("ANTHROPIC_API_KEY is not set; set it, or try Bakehouse without a key with --emulator")
    return Credentials(where, key, None if key else token)


def origin() -> str:
    """Return the API's origin, without a trailing slash or `/v1`: gateways are often written with them."""
    url = (_variable("ANTHROPIC_BASE_URL") or PUBLIC_ORIGIN).rstrip("/").removesuffix("/v1").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"ANTHROPIC_BASE_URL must start with http:// or https://, not {url!r}")
    return url


def _variable(name: str) -> str | None:
    return os.environ.get(name) or dotenv_values(".env").get(name)
