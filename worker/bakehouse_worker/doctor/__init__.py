"""`bakehouse doctor`: do the books agree? Without the API, unless it is asked to reconcile with it.

`books` reads the store alone, `serving` what the store and Redis run on, `outbox` the application's outbox,
`reconcile` compares with the API and takes back from it what a restored database forgot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import orjson

from bakehouse_worker.doctor import books, outbox, serving
from bakehouse_worker.doctor.finding import Finding
from bakehouse_worker.runtime import Runtime

__all__ = ["Finding", "as_json", "examine"]


def examine(runtime: Runtime) -> list[Finding]:
    """Make every check that needs no API; changes nothing."""
    return [*books.examine(runtime), *serving.examine(runtime), *outbox.examine(runtime)]


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as JSON."""
    return orjson.dumps([asdict(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode()
