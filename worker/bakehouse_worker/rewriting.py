"""A record's params with some of their values changed: bytes in, bytes out, and nothing parsed of what stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bakehouse import record

#: Where each top-level value stands in the params: half-open ranges of bytes.
Spans = Mapping[str, tuple[int, int]]

#: What the producer's checks are given for values that were checked when their record was enqueued, and stay.
_CHECKED = {"model": "checked", "max_tokens": 1, "messages": ["checked"]}


@dataclass(frozen=True, slots=True)
class Changes:
    """New values of top-level params, as JSON bytes by name. `model` is the new model, if it is among them."""

    values: Mapping[str, bytes]
    model: str | None = None

    @property
    def growth(self) -> int:
        """Bytes by which params may grow, at most."""
        return sum(len(record.serialise({name: None})[0]) + len(value) for name, value in self.values.items())

    def apply(self, params: bytes, spans: Spans | None) -> tuple[bytes, dict[str, tuple[int, int]]]:
        """Return params with the new values, in the old order of keys, and where each value stands in them."""
        if spans is None:  # not of our producer: read it once, whole
            params, spans = record.serialise(orjson.loads(params))
        body, found, at = bytearray(), {}, 0
        for name, (start, end) in sorted(spans.items(), key=lambda each: each[1]):
            body += params[at:start]
            place = len(body)
            body += self.values.get(name) or params[start:end]
            found[name] = (place, len(body))
            at = end
        for name, value in self.values.items():
            if name not in spans:
                body += b"," + orjson.dumps(name) + b":"
                found[name] = (len(body), len(body) + len(value))
                body += value
        return bytes(body + params[at:]), found


def changes(values: Mapping[str, Any]) -> Changes:
    """Serialise new values. Raises InvalidRecord for one that is no JSON."""
    body, spans = record.serialise(values)
    model = values.get("model")
    parts = {name: body[start:end] for name, (start, end) in spans.items()}
    return Changes(parts, model if isinstance(model, str) else None)


def check(values: Mapping[str, Any], api_version: str) -> None:
    """Raise InvalidRecord, as the producer does, if params with these values would be refused inside a batch."""
    record.check_params({**_CHECKED, **values}, api_version)
