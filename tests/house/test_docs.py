"""The pages tell the truth: their code runs, their commands and options exist, and their links lead somewhere.

How a block is treated is said in tests/pages.py. All pages share one directory and one system, as one reader at one machine would:
`bakehouse up --emulator`, with the jobs `reviews` and `tickets` from `examples/` already done.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from journey_machine import FAST, interruptible, wait_until
from pages import GENERATED, HOUSE, Block, blocks, commands, pages, prose, text_of

from bakehouse_emulator.cli import parser as emulator_parser
from bakehouse_worker.cli import app

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
WRITTEN = [page for page in pages() if not page.startswith(GENERATED)]
CODE = [block for page in WRITTEN for block in blocks(page)]
RUN = [page for page in WRITTEN if any(block.runs for block in blocks(page))]
NOT_RUN = [block for block in CODE if block.not_run is not None]
PAGE_LIMIT = 120.0  # seconds that the blocks of one page may take together


# Blocks run


class Reader:
    """Somebody at one machine, with a directory in which the system runs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BAKEHOUSE_", "ANTHROPIC_"))}
        self.env = {**kept, **FAST, "COLUMNS": "120"}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bakehouse_worker", *arguments],
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=interruptible,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PAGE_LIMIT,
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader whose system is up, with every file that the pages show in its directory."""
    made = Reader(tmp_path_factory.mktemp("reader"))
    shutil.copytree(HOUSE / "examples", made.home / "examples")
    for name in ("reviews", "tickets"):
        lines = (HOUSE / f"examples/{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (made.home / f"{name}.jsonl").write_text("".join(lines[:20]), encoding="utf-8")
    for block in CODE:
        if block.file:
            (made.home / block.file).parent.mkdir(parents=True, exist_ok=True)
            (made.home / block.file).write_text(block.text, encoding="utf-8")
    system = made.start("up", "--emulator", "--flower-port", "0")
    try:
        wait_until((made.home / ".bakehouse/redis.url").exists, "the system is up")
        port = (made.home / ".bakehouse/emulator/port").read_text(encoding="utf-8").strip()
        made.env |= {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "ANTHROPIC_API_KEY": "emulator"}
        for name in ("reviews", "tickets"):
            done = made.run("-m", "bakehouse_worker", "run", f"{name}.jsonl", "-o", "done.jsonl", "--job", name)
            assert done.returncode == 0, done.stdout
        yield made
    finally:
        system.terminate()
        system.wait(30)


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page: str, reader: Reader) -> None:
    done = reader.run(str(HOUSE / "tests/run_page.py"), page)
    assert done.returncode == 0, f"{page}:\n{done.stdout}"


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("docs")
def test_the_handler_of_the_readme_is_called(reader: Reader) -> None:
    asked = reader.run("-c", "import labels; labels.ask(1042, 'Where is my parcel?')")
    assert asked.returncode == 0, asked.stdout
    told = reader.home / "labels.txt"
    wait_until(lambda: told.exists() and "1042 succeeded" in told.read_text(encoding="utf-8"), "labels.save was called")


@pytest.mark.parametrize(
    "block", NOT_RUN or [pytest.param(None, marks=pytest.mark.skip("no block is marked"))], ids=str
)
def test_a_block_that_is_not_run_says_why_and_compiles(block: Block) -> None:
    assert block.not_run, f"{block}: say why it is not run"
    if block.language == "python":
        compile(block.text, str(block), "exec")
    pytest.skip(f"not run: {block}: {block.not_run}")


def test_no_two_pages_show_different_files_of_one_name() -> None:
    shown = defaultdict(list)
    for block in CODE:
        if block.file:
            shown[block.file].append(block)
    different = {name: [*map(str, each)] for name, each in shown.items() if len({block.text for block in each}) > 1}
    assert different == {}


@pytest.mark.parametrize("block", [block for block in CODE if block.language == "json"], ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


# Commands and options exist


@pytest.mark.parametrize("block", [block for block in CODE if block.language == "bash"], ids=str)
def test_bash_blocks_use_commands_and_options_that_exist(block: Block) -> None:
    for words in commands(block.text):
        assert _unknown(words) is None, f"{block}: {shlex.join(words)}: {_unknown(words)}"


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_and_options_named_in_the_text_exist(page: str) -> None:
    for quoted in re.findall(r"`(bakehouse [^`]+|make [^`]+)`", prose(page)):
        words = shlex.split(quoted)
        assert _unknown(words) is None, f"{page}: {quoted}: {_unknown(words)}"


def _unknown(words: list[str]) -> str | None:
    """What in a command line does not exist; None if all of it does."""
    match words:
        case ["bakehouse", name, *rest]:
            return _unknown_option(name, rest) if name in COMMANDS else f"no command {name}"
        case ["make", target, *_]:
            return None if target in TARGETS else f"no target {target}"
        case ["python", "-m", module, *_]:
            return None if find_spec(module) else f"no module {module}"
        case ["python", script] if script.startswith("examples/"):
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


# Links lead somewhere


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    here = HOUSE / page
    lost = []
    text = _without_code(prose(page))
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = here if not path else here.parent / path
        found = target.exists() and (not anchor or (target.suffix == ".md" and anchor in _anchors(target)))
        lost += [] if found else [link]
    assert lost == []


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "``", text)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page, and those it has of its own."""
    content = text_of(page.resolve().relative_to(HOUSE).as_posix())
    named = set(re.findall(r'<a (?:id|name)="([^"]+)"', content))
    counts: dict[str, int] = defaultdict(int)
    for heading in re.findall(r"^#+ (.+)$", prose(page.resolve().relative_to(HOUSE).as_posix()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        named.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return named


def test_the_index_names_every_page() -> None:
    named = set(re.findall(r"\]\(([^)#]+\.md)\)", text_of("docs/README.md")))
    assert {page.removeprefix("docs/") for page in pages() if page.startswith("docs/")} - named == {"README.md"}


def test_the_link_check_knows_a_lost_anchor() -> None:
    assert "back-up-restore" in _anchors(HOUSE / "docs/operations.md")
    assert "back-up-and-restore" not in _anchors(HOUSE / "docs/operations.md")


# And these tests can fail


def run_of(text: str, at: Path) -> subprocess.CompletedProcess[str]:
    """Run a page of this text, with no system around it."""
    page = at / "page.md"
    page.write_text(text, encoding="utf-8")
    for block in blocks(str(page)):
        if block.file:
            (at / block.file).write_text(block.text, encoding="utf-8")
    return Reader(at).run(str(HOUSE / "tests/run_page.py"), str(page))


def test_blocks_share_their_names_and_a_wrong_one_is_told_with_its_line(tmp_path: Path) -> None:
    right = "`seven.py`:\n\n```python\nN = 7\n```\n\n```python\nfrom seven import N\nm = N\n```\n\n```python\nassert m == 7\n```\n"
    assert run_of(right, tmp_path).returncode == 0
    done = run_of(right.replace("assert m == 7", "assert m == 8"), tmp_path)
    assert done.returncode != 0
    assert "page.md" in done.stdout and "line 13" in done.stdout


def test_a_bash_block_fails_with_any_of_its_commands(tmp_path: Path) -> None:
    done = run_of("```bash\ncat no-such-file\necho it went on\n```\n", tmp_path)
    assert done.returncode != 0 and "it went on" not in done.stdout


def test_what_stays_or_is_marked_is_not_run(tmp_path: Path) -> None:
    text = "```bash\nbakehouse up --emulator\n```\n\n<!-- not run: needs a real key -->\n```python\nraise SystemExit(3)\n```\n"
    assert run_of(text, tmp_path).returncode == 0
    assert [block.not_run for block in blocks(str(tmp_path / "page.md"))] == [None, "needs a real key"]


def test_a_test_file_that_a_page_shows_is_run_by_pytest(tmp_path: Path) -> None:
    text = "`test_it.py`:\n\n```python\ndef test_it(tmp_path):\n    assert not tmp_path.exists()\n```\n"
    done = run_of(text, tmp_path)
    assert done.returncode != 0 and "1 failed" in done.stdout


def test_an_option_that_does_not_exist_is_found() -> None:
    assert _unknown(["bakehouse", "status", "--jsno"]) == "no option --jsno"
    assert _unknown(["make", "tset"]) == "no target tset"
    assert _unknown(["bakehouse", "dead", "requeue", "--set", "max_tokens=5"]) is None
