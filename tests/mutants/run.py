"""Takes each safeguard out, one committed patch at a time, and shows which named test notices. `make mutants`.

A patch says which safeguard it takes out and which test must fail without it. It is applied to a copy of the tree; one that does not
apply any more must be made anew, and a test that does not fail has let its mutant live: both are failures of this command.

    python tests/mutants/run.py [PART OF A NAME]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOUSE = Path(__file__).parents[2]
ROOTS = ("producer", "worker", "emulator")


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    patches = [patch for patch in sorted(Path(__file__).parent.glob("*.patch")) if wanted in patch.name]
    verdicts = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for patch in patches:
            why, test, *_ = patch.read_text(encoding="utf-8").splitlines()
            verdicts[patch.stem] = verdict = judge(patch, test.removeprefix("Test: "), Path(folder) / patch.stem)
            print(f"{verdict:8} {patch.stem}: {why.removeprefix('Safeguard: ')}", flush=True)
            print(f"         {test.removeprefix('Test: ')}", flush=True)
    living = [name for name, verdict in verdicts.items() if verdict != "killed"]
    print(f"{len(verdicts) - len(living)} of {len(verdicts)} mutants killed")
    return 1 if living else 0


def judge(patch: Path, test: str, copy: Path) -> str:
    """Return `killed` if the test fails on the mutant for want of its safeguard, and why not otherwise."""
    shutil.copytree(HOUSE, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.pyc"))
    try:
        applied = subprocess.run(["git", "apply", str(patch)], cwd=copy, capture_output=True)
        if applied.returncode:
            return "STALE"
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(copy / root) for root in ROOTS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
        ran = subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True)
        return {0: "LIVES", 1: "killed"}.get(ran.returncode, "BROKEN")  # 1: tests ran, and one failed
    finally:
        shutil.rmtree(copy)


if __name__ == "__main__":
    raise SystemExit(main())
