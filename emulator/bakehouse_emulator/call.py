"""One call: who asks, under which version, and the headers its answer carries."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.datastructures import Headers

from bakehouse_emulator.clock import rfc3339
from bakehouse_emulator.ids import request_id
from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.wire import ApiError

VERSIONS = ("2023-06-01", "2026-10-21")


@dataclass(slots=True)
class Call:
    """What is known of a call before its handler runs. `workspace` is empty until the key was accepted."""

    id: str = field(default_factory=request_id)
    workspace: str = ""
    organization: str = ""
    version: str = ""
    betas: str = ""
    origin: str = ""
    limit: int = 0
    remaining: int = 0
    reset: float = 0.0
    bare: bool = False  # an edge proxy answers: no API headers

    def headers(self) -> dict[str, str]:
        """The headers of every answer."""
        if self.bare:
            return {}
        if not self.workspace:
            return {"request-id": self.id}
        return {
            "request-id": self.id,
            "anthropic-organization-id": self.organization,
            "anthropic-workspace-id": self.workspace,
            "anthropic-ratelimit-requests-limit": str(self.limit),
            "anthropic-ratelimit-requests-remaining": str(self.remaining),
            "anthropic-ratelimit-requests-reset": rfc3339(self.reset),
        }

    def identify(self, headers: Headers, options: EmulatorOptions) -> None:
        """Find out whose call this is. Raises the API's 401 or 400."""
        self.workspace = options.keys.get(_key(headers, options), options.default_workspace)
        self.organization = options.organization_id
        wanted = headers.get("anthropic-workspace-id")
        if wanted and wanted != self.workspace:
            raise ApiError(400, f"anthropic-workspace-id: the API key does not belong to workspace {wanted}")
        version = headers.get("anthropic-version")
        if version is None:
            raise ApiError(400, "anthropic-version: header is required")
        if version not in VERSIONS:
            raise ApiError(400, f'anthropic-version: "{version}" is not a valid version')
        self.version = version
        self.betas = headers.get("anthropic-beta", "")
        self.origin = "http://" + headers.get("host", f"{options.host}:{options.port}")


def _key(headers: Headers, options: EmulatorOptions) -> str:
    plain = headers.get("x-api-key")
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    if plain and bearer and options.both_auth_headers == "reject":
        raise ApiError(401, "Only one of x-api-key and Authorization may be sent")
    key = plain or bearer
    if not key:
        raise ApiError(401, "x-api-key header is required")
    if key.startswith("bad"):
        raise ApiError(401, "invalid x-api-key")
    return key
