"""README.md tells the truth: the settings are those of the code, and its commands and code are such as exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import dropwhile, groupby
from pathlib import Path
from typing import Any

import pytest
import typer

from bakehouse_emulator.cli import parser as emulator_parser
from bakehouse_worker.cli import app
from bakehouse_worker.settings import PREFIX, Settings

HOUSE = Path(__file__).parents[2]
README = (HOUSE / "README.md").read_text(encoding="utf-8")
SETTINGS = (HOUSE / "docs/settings.md").read_text(encoding="utf-8")
PAGES = {
    name: (HOUSE / name).read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "examples/README.md", "docs/operations.md", "docs/settings.md")
}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


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


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of a language, with the page it stands on."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(page, block) for page, content in PAGES.items() for block in fence.findall(content)]


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_blocks_compile(page: str, block: str) -> None:
    compile(block, page, "exec")


@pytest.mark.parametrize(("page", "block"), blocks("bash"))
def test_bash_blocks_use_commands_and_options_that_exist(page: str, block: str) -> None:
    for words in _commands(block):
        assert _unknown(words) is None, f"{page}: {shlex.join(words)}: {_unknown(words)}"


def test_commands_and_options_named_in_the_text_exist() -> None:
    for page, content in PAGES.items():
        prose = re.sub(r"^```.*?^```$", "", content, flags=re.MULTILINE | re.DOTALL)
        for quoted in re.findall(r"`(bakehouse [^`]+|make [^`]+)`", prose):
            assert _unknown(shlex.split(quoted)) is None, f"{page}: {quoted}: {_unknown(shlex.split(quoted))}"


def _commands(block: str) -> Iterator[list[str]]:
    """Every single command of a block, cut at pipes, redirections and the like; NAME=value before it is left out."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for operator, words in groupby(lexer, key=lambda word: not set(word) - set("();<>|&")):
            command = list(dropwhile(lambda word: "=" in word, words))
            if command and not operator:
                yield command


def _unknown(words: list[str]) -> str | None:
    """What in a command line does not exist; None if all of it does."""
    match words:
        case ["bakehouse", name, *rest]:
            return _unknown_option(name, rest) if name in COMMANDS else f"no command {name}"
        case ["make", target]:
            return None if target in TARGETS else f"no target {target}"
        case ["python", "-m", module, *_]:
            return None if find_spec(module) else f"no module {module}"
        case ["python", script]:
            return None if (HOUSE / script).is_file() else f"no script {script}"
        case ["pip", "install", *wanted]:
            extras = {extra for each in wanted for extra in each.partition("[")[2].rstrip("]").split(",") if extra}
            return next((f"no extra {extra}" for extra in extras - PROJECT["optional-dependencies"].keys()), None)
    return None


def _unknown_option(command: str, words: list[str]) -> str | None:
    if command == "emulator":
        known = {option for action in emulator_parser()._actions for option in action.option_strings}
    else:
        found = COMMANDS[command]
        if subcommands := getattr(found, "commands", {}):
            names = words[0].split("|") if words else []
            if not names or set(names) - subcommands.keys():
                return f"no such subcommand of {command}"
            found = subcommands[names[0]]
        known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"--help"}
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    return next((f"no option {option}" for option in given if option not in known), None)
