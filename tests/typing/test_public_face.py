"""What applications import is typed: their code passes mypy --strict and pyright, and nothing public is Any without need."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pages import HOUSE

HERE = Path(__file__).parent
APPLICATION = [HERE / "application.py", HERE / "application_tests.py"]
EXAMPLES = sorted((HOUSE / "examples").rglob("*.py"))
#: Public modules, and their names where not all that they define is for applications.
MODULES: dict[str, tuple[str, ...]] = {
    "bakehouse": (),
    "bakehouse.aio": (),
    "bakehouse.outbox": ("create_outbox", "outbox_table"),
    "bakehouse.testing": (),
}
#: For Bakehouse's own command line: it takes records that are built already.
NOT_FOR_APPLICATIONS = {"Client.append"}
#: Where Any stands, and has to: an object as JSON has it, whose values are the caller's or the API's.
JSON = {
    "Mapping[str, Any]": {
        "Client.enqueue_record(params)",
        "Outcome.metadata",
        "Outcome.result",
        "aio.enqueue_record(params)",
        "enqueue_record(params)",
    },
    "Mapping[str, Any] | None": {
        "Client.enqueue_record(metadata)",
        "aio.enqueue_record(metadata)",
        "enqueue_record(metadata)",
        "Outcome(metadata)",
        "testing.make_outcome(metadata)",
    },
    "Iterable[Mapping[str, Any]]": {
        "Client.enqueue_records(records)",
        "aio.enqueue_records(records)",
        "enqueue_records(records)",
    },
    "dict[str, Any]": {"Captured.params"},
    "dict[str, Any] | None": {"Captured.metadata"},
}
#: Generic types that say nothing without their arguments.
GENERIC = {"AsyncIterator", "Callable", "Iterable", "Iterator", "Mapping", "Sequence", "dict", "list", "set", "tuple"}

#: Each line is a mistake that a type checker must find.
MISTAKES = """
from bakehouse import Outcome, aio, enqueue_record, get_outcome, handler, iter_outcomes, job, wait
@handler(spans=True)
def save(outcomes: list[Outcome]) -> None: ...
enqueue_record("a prompt")
enqueue_record({}, job=5)
enqueue_record({}, metadata=[1])
enqueue_record({}, session="sqlite://")
save("an outcome")
get_outcome("a").text
get_outcome("a", "b")
wait(["ticket-2"])
job("a").progress().finished
iter_outcomes("a").status
handler(span=True)
async def later() -> None:
    aio.get_outcome("a").text
"""


# What applications may use


def public() -> Iterator[tuple[str, Any]]:
    """Every public name with what it names: `wait`, `Job.wait`, `aio.wait`, `testing.BakehouseStack` and its members."""
    for name, chosen in MODULES.items():
        module = importlib.import_module(name)
        short = name.removeprefix("bakehouse").removeprefix(".")
        for each in chosen or getattr(module, "__all__", defined(module)):
            found = getattr(module, each)
            yield (each if inspect.isclass(found) or not short else f"{short}.{each}"), found
            if inspect.isclass(found):
                yield from ((f"{each}.{member}", node) for member, node in members(found))


def defined(module: ModuleType) -> list[str]:
    functions = inspect.getmembers(module, inspect.isfunction)
    return [name for name, found in functions if found.__module__ == module.__name__ and not name.startswith("_")]


def parsed(found: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]


def members(found: type) -> Iterator[tuple[str, ast.AST]]:
    """A class's public fields, methods and properties, and what its __init__ sets, as the source has them."""
    for node in parsed(found).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield from [(node.target.id, node)] if not node.target.id.startswith("_") else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == "__init__":
                yield from set_in(node)
            elif not node.name.startswith("_"):
                yield node.name, node


def set_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(function):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        for target in targets:
            if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                yield target.attr, node


def function_of(found: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The definition of a function or method; None for a field, a class or a fixture."""
    node = parsed(found) if inspect.isfunction(found) else found
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def options(found: Any) -> list[str]:
    """The parameters of a function that may be given by name alone."""
    if (node := function_of(found)) is None:
        return []
    defaulted = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    return [each.arg for each in (*node.args.kwonlyargs, *defaulted)]


def test_the_application_uses_every_public_name_and_every_option() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in APPLICATION]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    given = defaultdict(set)
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        given[ast.unparse(call.func).rpartition(".")[2]] |= {keyword.arg for keyword in call.keywords}
    unused = []
    for name, found in public():
        last = name.rpartition(".")[2]
        if name in NOT_FOR_APPLICATIONS or name.startswith("testing.bakehouse_"):
            continue
        unused += [] if last in used else [name]
        unused += [f"{name}({each}=)" for each in options(found) if each not in given[last]]
    assert unused == []


# Type checkers


def mypy(files: list[Path], at: Path) -> str:
    """What `mypy --strict` has to say; empty if nothing."""
    argv = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(at / "cache")]
    return subprocess.run([*argv, *map(str, files)], cwd=HOUSE, capture_output=True, text=True).stdout


def pyright(files: list[Path], at: Path) -> str:
    """What pyright in its strict mode has to say; empty if nothing. It is the one that comes with its Node.js in a wheel."""
    config = {
        "include": [str(file) for file in files],
        "extraPaths": [str(HOUSE / "producer")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (at / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    argv = [sys.executable, "-m", "basedpyright", "-p", str(at), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(argv, cwd=at, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(files)
    lines = [
        f"{each['file']}:{each['range']['start']['line'] + 1}: {each['message']}" for each in told["generalDiagnostics"]
    ]
    return "\n".join(lines)


CHECKERS: list[Callable[[list[Path], Path], str]] = [mypy, pyright]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkers keep what they know of the libraries."""
    return tmp_path_factory.mktemp("desk")


@pytest.mark.xdist_group("typing")
@pytest.mark.parametrize("check", CHECKERS)
def test_an_application_that_uses_every_public_name_passes_and_so_do_the_examples(
    check: Callable[..., str], desk: Path
) -> None:
    assert [path.name for path in APPLICATION if "ignore" in path.read_text(encoding="utf-8")] == []
    assert check([*APPLICATION, *EXAMPLES], desk) == ""


@pytest.mark.xdist_group("typing")
@pytest.mark.parametrize("check", CHECKERS)
def test_mistakes_are_found_in_each_of_their_lines(check: Callable[..., str], desk: Path) -> None:
    file = desk / "mistakes.py"
    file.write_text(MISTAKES, encoding="utf-8")
    told = check([file], desk)
    lines = MISTAKES.splitlines()
    wrong = range(lines.index('enqueue_record("a prompt")') + 1, len(lines) + 1)
    silent = [lines[n - 1] for n in wrong if f"mistakes.py:{n}:" not in told and not lines[n - 1].startswith("async")]
    assert silent == []


def test_examples_are_one_screen_long() -> None:
    assert {path.name: length for path in EXAMPLES if (length := len(path.read_text().splitlines())) > 80} == {}


# Nothing is Any without need


def annotations() -> Iterator[tuple[str, ast.expr | None]]:
    """Every annotation of the public face by its place: `wait(timeout)`, `wait` for what it returns, `Outcome.text`."""
    for name, found in public():
        if isinstance(found, ast.AnnAssign):
            yield name, found.annotation
        elif node := function_of(found):
            yield name, node.returns
            arguments = [
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ]
            yield from ((f"{name}({each.arg})", each.annotation) for each in arguments if each and each.arg != "self")
        elif inspect.isclass(found):
            for init in (node for node in parsed(found).body if getattr(node, "name", "") == "__init__"):
                yield from (
                    (f"{name}({each.arg})", each.annotation) for each in init.args.args[1:] + init.args.kwonlyargs
                )


def test_any_stands_only_where_the_values_of_json_objects_stand() -> None:
    found = defaultdict(set)
    for place, annotation in annotations():
        if annotation is not None and "Any" in {getattr(node, "id", "") for node in ast.walk(annotation)}:
            found[ast.unparse(annotation)].add(place)
    assert found == JSON


def test_everything_public_says_its_type_and_no_generic_type_is_bare() -> None:
    wrong = []
    for place, annotation in annotations():
        inside = {id(node.value) for node in ast.walk(annotation or ast.Pass()) if isinstance(node, ast.Subscript)}
        named = [node for node in ast.walk(annotation or ast.Pass()) if isinstance(node, ast.Name)]
        bare = [node.id for node in named if node.id in GENERIC and id(node) not in inside]
        wrong += [f"{place}: {bare}"] if bare or annotation is None else []
    assert wrong == []
