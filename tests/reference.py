"""`make reference`: write docs/reference/ from the `--help` of every command, and from the public names and their docstrings.

`test_reference.py` fails while a page is not what this makes now.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from bakehouse_emulator.cli import parser as emulator_parser
from bakehouse_worker.cli import app

HERE = Path(__file__).parents[1] / "docs/reference"
#: Public modules, in this order; one that does not exist is left out.
MODULES = ("bakehouse", "bakehouse.aio", "bakehouse.testing")
MADE = "<!-- Made by `make reference` (tests/reference.py): change the docstring or the help text, not this page. -->"
WIDTH = 100
VALUES = {"int": "N", "int range": "N", "float": "X", "float range": "X", "path": "PATH", "str": "TEXT"}


def made() -> dict[str, str]:
    """The pages by name, as they are to stand in docs/reference/."""
    return {"commands.md": commands_page(), "python.md": python_page()}


# Commands


def commands_page() -> str:
    root = typer.main.get_command(app)
    found = dict(walk(root, None, "bakehouse"))
    about = found.pop("bakehouse")
    lines = ["# Commands", "", MADE, "", about.text, "", "`--help` after any command says what stands here.", ""]
    lines += ["| | |", "|---|---|", *(f"| `bakehouse` {left} | {cell(right)} |" for left, right in about.rows)]
    for name, one in found.items():
        lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {cell(one.text.partition(chr(10))[0])} |")
    for name, one in found.items():
        lines += ["", f"## {name}", "", f"`{one.usage}`", "", one.text]
        if one.rows:
            lines += ["", "| | |", "|---|---|", *(f"| {left} | {cell(right)} |" for left, right in one.rows)]
    return "\n".join(lines) + "\n"


@dataclasses.dataclass
class Help:
    """What `--help` of one command says."""

    usage: str
    text: str
    rows: list[tuple[str, str]]


def walk(command: Any, above: Any, name: str) -> Iterator[tuple[str, Help]]:
    """Every command below this one, itself first, under its whole name."""
    context = command.make_context(
        name.rpartition(" ")[2], [], parent=above, resilient_parsing=True, terminal_width=9999
    )
    yield name, emulator_help(name) if name == "bakehouse emulator" else read_help(command.get_help(context))
    for below in getattr(command, "commands", {}).values():
        yield from walk(below, context, f"{name} {below.name}")


def read_help(text: str) -> Help:
    head, *sections = re.split(r"^(Arguments|Options|Commands):\n", text, flags=re.MULTILINE)
    usage, _, about = head.removeprefix("Usage: ").partition("\n")
    rows = []
    for kind, body in zip(sections[::2], sections[1::2], strict=True):
        for line in body.splitlines() if kind != "Commands" else ():
            left, _, right = line.strip().partition("  ")
            rows += [(option(left), note(right.strip()))] if left and left != "--help" else []
    return Help(
        shouted(usage.replace("...]...", "...").replace("[[", "[")),
        "\n".join(line.strip() for line in about.strip().splitlines()),
        rows,
    )


def option(left: str) -> str:
    """`-j, --job <str>` as Markdown: -j, --job TEXT, in code."""
    if not left.startswith("-"):
        return f"`{shouted(left.partition(' <')[0])}`"
    left = re.sub(r" <([^>]*)>", lambda found: f" {VALUES.get(found[1], 'VALUE')}", left)
    return ", ".join(f"`{each}`" for each in left.split(", "))


def shouted(usage: str) -> str:
    """Arguments in capitals, as in INPUT.jsonl [CUSTOM_ID]; what stands before [OPTIONS] stays."""
    words, options, arguments = usage.rpartition("[OPTIONS]")
    arguments = re.sub(r"(?<![.\w])[a-z_]+", lambda found: found[0].upper(), re.sub(r"[{}]", "", arguments))
    return words + options + arguments


def note(right: str) -> str:
    """A help text whose bracket at the end is sentences."""
    said, _, bracket = right.removesuffix("]").rpartition("  [") if right.endswith("]") else (right, "", "")
    return " ".join([said, *map(sentence, bracket.split("; "))]).strip()


def sentence(part: str) -> str:
    """What a part of such a bracket means: `required`, `default: 5`, `x>=1`, `0<=x<=9`."""
    name, _, default = part.partition(": ")
    if name == "default":
        return f"Default: `{default}`."
    if found := re.fullmatch(r"(?:(\d+)<=)?x(?:>=(\d+)|<=(\d+))", part):
        return f"At least {found[2]}." if found[2] else f"{found[1]} to {found[3]}."
    return f"{part.capitalize()}." if part else ""


def emulator_help(name: str) -> Help:
    """The emulator has a command line of its own."""
    parser = emulator_parser()
    rows = []
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
            shown = (action.help or "").replace("%(default)s", str(action.default))
            rows.append((", ".join(f"`{each}{value}`" for each in action.option_strings), shown))
    return Help(f"{name} [OPTIONS]", parser.description or "", rows)


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


# Python


def python_page() -> str:
    found = {name: importlib.import_module(name) for name in MODULES if importlib.util.find_spec(name) is not None}
    body, names = [], {name: in_order(module) for name, module in found.items()}
    for name, module in found.items():
        body += ["", f"## {name}", "", markdown(module.__doc__)]
        for each in names[name]:
            body += ["", f"### {title(name, each)}", *entry(each, getattr(module, each))]
    at = anchors(body)
    lines = ["# Python", "", MADE, ""]
    for name, each in names.items():
        lines.append(f"* {link(name, at)}: {', '.join(link(title(name, one), at) for one in each)}")
    return "\n".join(lines + body) + "\n"


def in_order(module: ModuleType) -> list[str]:
    """The public names of a module: functions, classes, errors, anything else."""
    names = [name for name in public(module) if not isinstance(getattr(module, name), ModuleType)]
    return sorted(names, key=lambda name: (kind(getattr(module, name)), name.lower()))


def anchors(lines: list[str]) -> dict[str, str]:
    """Where GitHub's links find each heading; of two that differ by their case only, the second is numbered."""
    found: dict[str, str] = {}
    for heading in (line.lstrip("#").strip() for line in lines if line.startswith("#")):
        slug = re.sub(r"[^\w-]", "", heading.lower())
        before = sum(re.fullmatch(rf"{slug}(-\d+)?", other) is not None for other in found.values())
        found[heading] = f"{slug}-{before}" if before else slug
    return found


def link(heading: str, at: dict[str, str]) -> str:
    return f"[`{heading}`](#{at[heading]})"


def public(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
    return [name for name in own if not name.startswith("_")]


def title(module: str, name: str) -> str:
    """Names of the top module stand alone; a twin elsewhere says where."""
    return name if module == "bakehouse" else f"{module.partition('.')[2]}.{name}"


def kind(value: Any) -> int:
    if inspect.isclass(value):
        return 2 if issubclass(value, BaseException) else 1
    return 0 if callable(value) or wrapped(value) else 3


def wrapped(value: Any) -> Callable[..., Any] | None:
    """The function behind a pytest fixture, None if it is none."""
    inner = getattr(value, "_get_wrapped_function", None)
    return inner() if inner is not None else None


def entry(name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return class_entry(name, value)
    if fixture := wrapped(value):
        given = annotation(inspect.signature(fixture).return_annotation)
        given = re.sub(r"^(?:Iterator|Generator)\[(.*?)(?:, None, None)?\]$", r"\1", given)
        return ["", "A pytest fixture.", "", code(f"{name}: {given}"), "", markdown(fixture.__doc__)]
    if not callable(value):
        return ["", code(f"{name} = {value!r}")]
    return ["", code(signature(name, value, "def")), "", markdown(value.__doc__)]


def class_entry(name: str, value: type) -> list[str]:
    bases = [base.__name__ for base in value.__bases__ if base is not object]
    head = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    if dataclasses.is_dataclass(value):
        shown = (
            head
            + ":\n"
            + "\n".join(f"    {each.name}: {each.type}{default(each)}" for each in dataclasses.fields(value))
        )
    elif issubclass(value, BaseException) or "__init__" not in vars(value):
        shown = head
    else:
        shown = signature(name, value.__init__, "class", method=True).removesuffix(" -> None").removesuffix("()")
    lines = ["", code(shown), "", markdown(value.__doc__)]
    for member, found in vars(value).items():
        if not member.startswith("_"):
            lines += member_entry(name, member, found)
    return lines


def member_entry(owner: str, name: str, found: Any) -> list[str]:
    if isinstance(found, property | cached_property):
        getter = found.fget if isinstance(found, property) else found.func
        head = f"{name}: {annotation(inspect.signature(getter).return_annotation)}"
        return ["", f"#### {owner}.{name}", "", code(head), "", markdown(getter.__doc__)]
    function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    if not inspect.isfunction(function):
        return []
    head = signature(name, function, "def", method=not isinstance(found, staticmethod))
    return ["", f"#### {owner}.{name}", "", code(head), "", markdown(function.__doc__)]


def signature(name: str, function: Callable[..., Any], word: str, *, method: bool = False) -> str:
    if word == "def" and (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        word = "async def"
    found = inspect.signature(function)
    parts = list(parameters(list(found.parameters.values())[1 if method else 0 :]))
    end = "" if found.return_annotation is inspect.Signature.empty else f" -> {annotation(found.return_annotation)}"
    flat = f"{word} {name}({', '.join(parts)}){end}"
    return flat if len(flat) <= WIDTH else f"{word} {name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


def parameters(given: list[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for each in given:
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        starred = starred or each.kind is each.VAR_POSITIONAL
        shown = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "") + each.name
        typed = each.annotation is not each.empty
        shown += f": {annotation(each.annotation)}" if typed else ""
        yield shown if each.default is each.empty else f"{shown}{' = ' if typed else '='}{value(each.default)}"


def annotation(found: Any) -> str:
    return found if isinstance(found, str) else inspect.formatannotation(found)


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {value(field.default)}"
    return "" if field.default_factory is dataclasses.MISSING else " = ..."


def value(found: Any) -> str:
    shown = f'"{found}"' if isinstance(found, str) else repr(found).replace("b''", 'b""')
    return "..." if " at 0x" in shown else shown


def code(text: str) -> str:
    return f"```py\n{text}\n```"


def markdown(docstring: str | None) -> str:
    """A docstring as Markdown: names in a column before their texts become a table, and indented lines code."""
    return "\n\n".join(map(paragraph, re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))))


def paragraph(text: str) -> str:
    indented = all(line.startswith("    ") for line in text.splitlines())
    rows = columns((textwrap.dedent(text) if indented else text).splitlines())
    if rows is None:
        return code(textwrap.dedent(text)) if indented else text
    named = ((", ".join(f"`{each}`" for each in name.split(", ")), said) for name, said in rows)
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {cell(said)} |" for name, said in named)])


def columns(lines: list[str]) -> list[tuple[str, str]] | None:
    """Rows of `name   text`, whose further lines are indented as far as the text; None if these lines are not such."""
    first = re.match(r"(\S+(?: \S+)*)  +(?=\S)", lines[0]) if lines else None
    if first is None:
        return None
    rows: list[tuple[str, str]] = []
    for line in lines:
        name, said = line[: first.end()].strip(), line[first.end() :].strip()
        if not said or (name and line[first.end() - 1] != " "):
            return None
        if name:
            rows.append((name, said))
        else:
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {said}")
    return rows


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for page, content in made().items():
        (HERE / page).write_text(content, encoding="utf-8")
