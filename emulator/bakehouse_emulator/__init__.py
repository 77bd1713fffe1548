"""A faithful Message Batches API over HTTP, with faults on demand and a fast clock, for tests, demos and benchmarks.

Reading order, along the way of a batch: `app` (routes) -> `endpoint` (key, limits, faults) -> `create` -> `upload` and
`splitter` (the body, item by item) -> `service` (what happens to it) -> `outcome` (how each item ends) -> `stream` (its
lines). Beside them: `store` and `members` remember, `script` breaks things on demand, `control` is the tests' entrance.
"""

from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.running import Running, running

__all__ = ["EmulatorOptions", "Running", "running"]
