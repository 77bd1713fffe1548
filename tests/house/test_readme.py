"""README.md names every command and is short; docs/settings.md has the settings of the code. What all pages share: test_docs.py."""

from __future__ import annotations

from typing import Any

import typer
from pages import text_of

from bakehouse_worker.cli import app
from bakehouse_worker.settings import PREFIX, Settings

README = text_of("README.md")
SETTINGS = text_of("docs/settings.md")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def settings_table() -> str:
    """The table as it should stand in docs/settings.md."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{PREFIX}{name.upper()}` | {_shown(field.default)} | {field.description} |")
    return "\n".join(lines)


def _shown(default: object) -> str:
    if default is None or default in ("", ()):
        return ""
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_settings_table_is_what_the_settings_say() -> None:
    stands = SETTINGS.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0].strip()
    wanted = settings_table()
    assert stands == wanted, f"put this between the markers in docs/settings.md:\n\n{wanted}\n"


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"`bakehouse {name}" not in README] == []


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 220
