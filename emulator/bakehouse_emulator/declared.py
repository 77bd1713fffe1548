"""Values from outside, held against the fields of the dataclass they are meant for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import Field
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "bool": (bool,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "dict[str, str]": (dict,),
}


def check(what: str, values: Mapping[str, Any], known: Mapping[str, Field[Any]]) -> None:
    """Raises ValueError naming the first value that has no field, another type than its field, or is below zero."""
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"no {what} is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        declared = str(known[name].type)
        if not isinstance(value, TYPES[declared]) or (isinstance(value, bool) and declared != "bool"):
            raise ValueError(f"{what} {name!r} wants {declared}, got {value!r}")
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{what} {name!r} cannot be negative, got {value!r}")
