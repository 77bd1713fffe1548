"""The Markdown pages of this repository, as tests read them: prose, code blocks, links and headings.

What a page says about its blocks:

* A `python` block runs, after those above it, in one namespace with them. If the text above it ends with a file's name, such as
  "`labels.py`:", it is that file and is imported instead; `test_*.py` is given to pytest.
* A `bash` block runs if each of its commands is known to end and to touch nothing but the directory it runs in.
* `<!-- not run: reason -->` on the line above the fence: the block is read and checked, but not run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, groupby
from pathlib import Path

HOUSE = Path(__file__).parents[1]
PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/**/*.md")
#: Made by tests/reference.py: signatures and help texts, nothing to run.
GENERATED = "docs/reference/"
#: Commands that stay until they are told to stop, or that take longer than a test may.
STAYING = {"up", "worker", "beat", "flower", "emulator", "demo"}
HARMLESS = {"bakehouse", "python", "export", "cat", "head", "tail", "wc", "echo"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- *not run: *(.*?) *-->")
_NAMED = re.compile(r"`([\w./-]+\.py)`:$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page on which the text begins."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None
    file: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether the tests run it."""
        if self.not_run is not None:
            return False
        return self.language == "python" or (self.language == "bash" and all(map(_ends, commands(self.text))))


def pages() -> list[str]:
    """The path of every page, from the top of the repository."""
    return sorted({path.relative_to(HOUSE).as_posix() for place in PLACES for path in HOUSE.glob(place)})


def text_of(page: str) -> str:
    """A page's text."""
    return (HOUSE / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page's text without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced blocks of a page, top to bottom; only those of some languages, if any is named."""
    content, found = text_of(page), []
    for fence in _FENCE.finditer(content):
        above = content[: fence.start()].rstrip("\n").rpartition("\n")[2]
        reason, name = _COMMENT.search(above), _NAMED.search(above)
        language, text = fence.groups()
        line = content.count("\n", 0, fence.start(2)) + 1
        found.append(Block(page, line, language, text, reason and reason[1], name and name[1]))
    return [block for block in found if not languages or block.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """Every single command of a bash block, cut at pipes, redirections and the like; NAME=value before it is left out."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        after = ""
        for operator, words in groupby(lexer, key=lambda word: not set(word) - set("();<>|&")):
            if operator:
                after = "".join(words)
                continue
            command = list(dropwhile(lambda word: "=" in word, words))
            if command and not after.endswith((">", "<")):
                yield command


def _ends(command: list[str]) -> bool:
    match command:
        case ["bakehouse", name, *_]:
            return name not in STAYING
        case ["python", "-m", module, *_]:
            return module != "bakehouse_emulator"
        case [name, *_]:
            return name in HARMLESS
    return False
