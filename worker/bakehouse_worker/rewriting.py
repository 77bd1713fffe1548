"""A record's params with some of their values changed, for what is to be asked otherwise: the one place where they are parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bakehouse import InvalidRecord, record

#: What the producer's checks are given for values that were checked when their record was enqueued, and stay.
_CHECKED = {"model": "checked", "max_tokens": 1, "messages": ["checked"]}


@dataclass(frozen=True, slots=True)
class Changes:
    """New values of top-level params, by name."""

    values: Mapping[str, Any]

    @property
    def model(self) -> str | None:
        """The new model, if it is among them."""
        model = self.values.get("model")
        return model if isinstance(model, str) else None

    @property
    def growth(self) -> int:
        """Bytes by which params may grow, at most."""
        return len(record.serialise(self.values))

    def apply(self, params: bytes) -> bytes:
        """Return params with the new values, in the old order of keys, and what is new behind them. Numbers stay as they are written.

        Raises InvalidRecord for params that cannot be read, which only another producer's are, or an `orjson.Fragment` in them.
        """
        try:
            old = json.loads(params, parse_int=orjson.Fragment, parse_float=orjson.Fragment)
        except (ValueError, RecursionError):
            old = None
        if not isinstance(old, dict):
            raise InvalidRecord(
                "params", "are not a JSON object that can be read, so that none of its values can be changed"
            )
        return record.serialise({**old, **self.values})


def changes(values: Mapping[str, Any]) -> Changes:
    """Take new values. Raises InvalidRecord for one that is no JSON."""
    record.serialise(values)
    return Changes(values)


def check(values: Mapping[str, Any], api_version: str) -> None:
    """Raise InvalidRecord, as the producer does, if params with these values would be refused inside a batch."""
    record.check_params({**_CHECKED, **values}, api_version)
