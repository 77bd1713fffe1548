"""docker-compose.yml as a container engine would read it, for machines that have none: anchors, variables, commands, environments."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

HOUSE = Path(__file__).parent.parent
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def services(variables):
    """Every service with its variables put in. Raises KeyError for one that must be set and is not."""
    file = yaml.safe_load((HOUSE / "docker-compose.yml").read_text(encoding="utf-8"))
    return _filled(file["services"], variables)


def env_file(name):
    """The variables of an env file."""
    lines = (HOUSE / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _filled(value, variables):
    if isinstance(value, dict):
        return {key: _filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    return _VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found, variables):
    dollar, name, kind, text = found.groups()
    if dollar:
        return "$"
    if variables.get(name):
        return variables[name]
    if kind == "-":
        return text
    raise KeyError(f"{name}: {text}")
