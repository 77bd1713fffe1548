"""The house's own rules, read from its files: arrows between the parts, sizes, what is shipped, and the schema's stamp."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlmodel import SQLModel

import bakehouse
from bakehouse_worker import schema, tables
from bakehouse_worker.store.database import Database, open_database

HOUSE = Path(__file__).parents[2]
ROOTS = {"producer": "bakehouse", "worker": "bakehouse_worker", "emulator": "bakehouse_emulator"}
FILE_LINES, FUNCTION_LINES = 300, 45
NOT_SHIPPED = {"__pycache__"}


def files(root: str, suffix: str = "*.py") -> list[Path]:
    found = (HOUSE / root / ROOTS[root]).rglob(suffix)
    return sorted(path for path in found if path.is_file() and not NOT_SHIPPED & set(path.parts))


def name_of(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports by name, inside functions too; a relative import counts as its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def importers(root: str, *packages: str) -> dict[str, list[str]]:
    """Which files of a root import any of some packages, and which."""
    found = {name_of(path): sorted({m for m in imports(path) if m.split(".")[0] in packages}) for path in files(root)}
    return {name: modules for name, modules in found.items() if modules}


# Arrows


#: What a file of the producer imports when it is asked for it, and never before.
WHEN_ASKED_FOR = {
    "producer/bakehouse/outbox.py": ["sqlalchemy", "sqlalchemy.exc", "sqlalchemy.orm", "sqlalchemy.schema"],
    "producer/bakehouse/outcome.py": ["anthropic.types"],
    "producer/bakehouse/testing/sessions.py": ["sqlalchemy", "sqlalchemy.orm"],
}


def test_the_producer_knows_no_worker_no_celery_no_sql_and_no_sdk() -> None:
    forbidden = ("bakehouse_worker", "bakehouse_emulator", "celery", "kombu", "sqlalchemy", "sqlmodel", "anthropic")
    assert importers("producer", *forbidden) == WHEN_ASKED_FOR


def test_what_the_producer_imports_when_asked_for_it_is_imported_by_no_line_at_a_file_s_top() -> None:
    early = {}
    for name, modules in WHEN_ASKED_FOR.items():
        top = ast.parse((HOUSE / name).read_text(encoding="utf-8")).body
        imported = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
        early[name] = imported & set(modules)
    assert {name: modules for name, modules in early.items() if modules} == {}


def test_the_emulator_imports_neither_producer_nor_worker() -> None:
    assert importers("emulator", "bakehouse", "bakehouse_worker", "anthropic") == {}


def test_the_worker_does_not_import_the_emulator() -> None:
    assert importers("worker", "bakehouse_emulator") == {}


def test_only_the_gateway_imports_the_sdk() -> None:
    assert list(importers("worker", "anthropic")) == ["worker/bakehouse_worker/gateway.py"]


def test_only_store_tables_and_migrations_speak_sql() -> None:
    home = "worker/bakehouse_worker/"
    allowed = (f"{home}store/", f"{home}tables.py", f"{home}migrations/")
    assert [name for name in importers("worker", "sqlalchemy", "sqlmodel") if not name.startswith(allowed)] == []


def test_imports_are_absolute() -> None:
    relative = {
        name_of(path): [m for m in imports(path) if m.startswith(".")] for root in ROOTS for path in files(root)
    }
    assert {name: modules for name, modules in relative.items() if modules} == {}


@pytest.mark.parametrize("root", ROOTS)
def test_a_source_root_holds_one_package_and_nothing_importable_beside_it(root: str) -> None:
    beside = [path.name for path in (HOUSE / root).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert beside == [ROOTS[root]]


# Sizes


def test_no_file_is_longer_than_one_sitting() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for root in ROOTS for path in files(root)
    }
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    code = (path for root in ROOTS for path in files(root) if path.parent.name != "versions")  # migrations are lists
    for path in code:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{name_of(path)}:{node.lineno} {node.name}"] = lines
    assert long == {}


# What is shipped


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel that is built now."""
    out = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(HOUSE)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    [built] = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_has_the_three_packages_and_nothing_else_at_its_top(wheel: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel}
    assert top == {*ROOTS.values(), f"bakehouse-{bakehouse.__version__}.dist-info"}


def test_the_wheel_has_every_file_of_the_source_roots(wheel: list[str]) -> None:
    source = {path.relative_to(HOUSE / root).as_posix() for root in ROOTS for path in files(root, "*")}
    assert {name for name in wheel if ".dist-info/" not in name} == source
    assert source >= {f"{package}/py.typed" for package in ROOTS.values()}
    assert source >= {f"bakehouse_worker/migrations/{name}" for name in ("env.py", "script.py.mako")}
    assert any(name.startswith(f"bakehouse_worker/migrations/versions/v{schema.HEAD}_") for name in source)


def test_the_extra_all_is_every_extra_that_is_not_for_developers() -> None:
    extras = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [everything] = extras["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == extras.keys() - {"all", "dev"}


# The producer's face


def test_what_the_producer_exports_is_sorted_and_is_all_that_is_public() -> None:
    public = {
        name
        for name, value in vars(bakehouse).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert list(bakehouse.__all__) == sorted(bakehouse.__all__)
    assert set(bakehouse.__all__) == public


def test_everything_public_in_the_producer_says_what_it_does() -> None:
    silent = []
    for path in files("producer"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        silent += [name_of(path)] if not ast.get_docstring(module) else []
        silent += [f"{name_of(path)}: {name}" for name in _silent(module)]
    assert silent == []


def _silent(node: ast.Module | ast.ClassDef, within: str = "") -> Iterator[str]:
    for child in node.body:
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not named or child.name.startswith("_"):
            continue
        if not ast.get_docstring(child):
            yield within + child.name
        if isinstance(child, ast.ClassDef):
            yield from _silent(child, f"{within}{child.name}.")


# The schema


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Database]:
    database = open_database("", tmp_path / "migrated.sqlite")
    schema.migrate(database)
    yield database
    database.close()


def test_the_stamp_names_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_migrated_database_is_what_the_tables_say(migrated: Database) -> None:
    assert tables.table(tables.Record).metadata is SQLModel.metadata
    with migrated.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrated_indexes_have_the_conditions_that_the_tables_give_them(migrated: Database, tmp_path: Path) -> None:
    made = open_database("", tmp_path / "made.sqlite")
    SQLModel.metadata.create_all(made.engine)
    assert _indexes(migrated) == _indexes(made)
    made.close()


def _indexes(database: Database) -> dict[str, str]:
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    with database.read() as connection:
        return {name: " ".join(sql.split()) for name, sql in connection.execute(query)}


def test_a_database_of_the_release_before_is_brought_up_with_what_stands_in_it(tmp_path: Path) -> None:
    from alembic import command

    database = open_database("", tmp_path / "old.sqlite")
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with database.write() as connection:
        connection.execute(text("INSERT INTO job (name, created_at, rejected_pruned) VALUES ('old', 1.0, 0)"))
        lane = "INSERT INTO lane (job_id, key, priority, api_version, betas) VALUES (1, 'k', 0, 'v', '')"
        connection.execute(text(lane))
        connection.execute(
            text(
                "INSERT INTO record (id, job_id, custom_id, lane_id, seq, bytes, digest, model, state, generation, attempt, "
                "failures, expiries, next_at) VALUES (1, 1, 'a', 1, 0, 2, 'd', 'm', 'succeeded', 0, 0, 0, 0, 0)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO result (record_id, attempt, batch_id, kind, stop_reason, input_tokens, output_tokens, "
                "cache_write_tokens, cache_read_tokens, received_at, line) "
                "VALUES (1, 0, 1, 'succeeded', 'refusal', 0, 0, 0, 0, 0, '')"
            )
        )
    assert schema.ensure(database, auto_migrate=True)
    with database.read() as connection:
        assert connection.execute(text("SELECT name, canary FROM job")).one() == ("old", None)
        assert connection.scalar(text("SELECT model FROM lane")) == ""
        assert connection.execute(text("SELECT job_id, reason, records FROM caveat")).one() == (1, "refusal", 1)
    database.close()
