"""The ordinary command line, with points at which it ends or freezes: `python -m chaos.role worker --queues transfer`.

What is imported here is imported before roles are forked. In the environment: CHAOS_BOARD, the directory of points, and
CHAOS_WITHOUT, a safeguard to take out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from chaos import points, safeguards

import bakehouse_worker.cli
import bakehouse_worker.tasks
import bakehouse_worker.worker
from bakehouse_worker import deliver, limit
from bakehouse_worker.local import tether


def play(words: list[str], env: dict[str, str], home: str, log: str) -> None:
    """Be this role, from a process that was forked for it: its environment, directory and output are set here."""
    os.setsid()
    tether.tie_pool_child()  # and it outlives no test
    os.environ.clear()
    os.environ.update(env)
    os.chdir(home)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    main(words)


def main(words: list[str]) -> None:
    """Prepare the points and the safeguard, and run the command."""
    # a scenario's times are short; these have no setting
    limit.GRACE, limit.LATEST = 1.0, 1.1
    deliver.SPARE, deliver.LATEST = 0.5, limit.LATEST
    if board := os.environ.get("CHAOS_BOARD"):
        points.install(Path(board))
    if without := os.environ.get("CHAOS_WITHOUT"):
        safeguards.take_out(without)
    sys.argv = ["bakehouse", *words]
    bakehouse_worker.cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
