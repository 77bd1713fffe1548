"""Who we are to the API, and whether a store's batches are ours: asked before anything is enqueued or sent.

`run` lets the process ask that imports the SDK anyway (`local/crew.py`), and need not import it itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from bakehouse import BakehouseError, ConfigurationError
from bakehouse.contract import DEFAULT_API_VERSION


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose batches these are: the API's origin, and the workspace that the key belongs to."""

    origin: str
    workspace: str


def ask() -> Identity:
    """Make one cheap call. Raises ConfigurationError, one sentence, for a wrong key or an origin that does not answer."""
    from bakehouse_worker.errors import Refused, Unanswered
    from bakehouse_worker.gateway import Gateway

    gateway = Gateway(answer_timeout=10.0)
    try:
        return Identity(gateway.origin, gateway.newest().workspace)
    except Refused as error:
        if error.status in (401, 403):
            raise ConfigurationError(
                f"{gateway.origin} refuses the key in ANTHROPIC_API_KEY ({error.message})"
            ) from None
        if error.status == 404:
            raise ConfigurationError(
                f"{gateway.origin} has no Message Batches API (404); check ANTHROPIC_BASE_URL"
            ) from None
        raise ConfigurationError(f"{gateway.origin} refuses to list batches: {error}") from None
    except Unanswered as error:
        raise ConfigurationError(
            f"{gateway.origin} does not answer ({error}); check ANTHROPIC_BASE_URL and the network"
        ) from None
    finally:
        gateway.close()


def try_a_batch() -> str:
    """Create a batch of one tiny request, and cancel it; returns its id. Costs a fraction of a cent if it ran all the same."""
    from bakehouse_worker.errors import GatewayError
    from bakehouse_worker.gateway import Gateway

    gateway = Gateway(answer_timeout=30.0)
    request = {"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    body = orjson.dumps({"requests": [{"custom_id": "bakehouse-check", "params": request}]})
    try:
        remote = gateway.create(iter([body]), len(body), (), DEFAULT_API_VERSION)
        gateway.cancel(remote.id)
        return remote.id
    except GatewayError as error:
        raise ConfigurationError(f"{gateway.origin} did not take a batch: {error}") from None
    finally:
        gateway.close()


def check_identity(known: tuple[str, str] | None, now: Identity) -> None:
    """Raise ConfigurationError if a store's batches belong to another origin or workspace than the present one."""
    if reason := mismatch(known, now):
        raise ConfigurationError(reason)


def mismatch(known: tuple[str, str] | None, now: Identity) -> str | None:
    """Say in one sentence why this origin and workspace must not be used on a store; None if they may."""
    if known is None or known == (now.origin, now.workspace):
        return None
    origin, workspace = known
    if origin != now.origin:
        return (
            f"this store's batches are at {origin}, but ANTHROPIC_BASE_URL now says {now.origin}: "
            "use another BAKEHOUSE_DATA_DIR or database for another origin"
        )
    return (
        f"this store's batches are in workspace {workspace}, but the key now in use belongs to {now.workspace}: "
        "use a key of the first workspace"
    )


def answer() -> dict[str, str]:
    """Return {"origin", "workspace"}, or {"error": one sentence}."""
    try:
        found = ask()
    except BakehouseError as error:
        return {"error": str(error)}
    return {"origin": found.origin, "workspace": found.workspace}
