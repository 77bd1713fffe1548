"""`python tests/run_page.py PAGE`: run a page's blocks, top to bottom, in the directory that stands around it.

Errors name the page and its line. Bash blocks are given "y" where they ask.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from pages import Block, blocks

#: `bakehouse` is the one of this interpreter, whatever stands on the path.
SHELL = f'set -euo pipefail\nbakehouse() {{ {sys.executable} -m bakehouse_worker "$@"; }}\npython() {{ {sys.executable} "$@"; }}\n'


def main(page: str) -> None:
    sys.path[0] = str(Path.cwd())
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python", "bash"):
        if not block.runs:
            continue
        print(f"-- {block} {block.language}", flush=True)
        if block.language == "bash":
            code = subprocess.run(["bash", "-c", SHELL + block.text], input=b"y\n" * 20).returncode
            if code:
                raise SystemExit(f"{block}: the bash block ended with exit code {code}")
        elif block.file:
            use(block.file)
        else:
            exec(compiled(block), namespace)


def compiled(block: Block) -> Any:
    """The block's code, with the line numbers of its page."""
    return compile("\n" * (block.line - 1) + block.text, block.page, "exec")


def use(file: str) -> None:
    """Import a file that the page shows, or run its tests."""
    if Path(file).name.startswith("test_"):
        tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "bakehouse.testing", file]
        if subprocess.run(tests).returncode:
            raise SystemExit(f"{file}: its tests fail")
    else:
        importlib.import_module(file.removesuffix(".py").replace("/", "."))


if __name__ == "__main__":
    main(sys.argv[1])
