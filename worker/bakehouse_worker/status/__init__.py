"""`bakehouse status`: one screen for whoever is on call.

`snapshot` reads everything at one moment, `waiting` decides what pending records wait for, `telling` and `jobs` put it into lines and
`page` into JSON.
"""

from __future__ import annotations

from bakehouse_worker.status.page import as_json
from bakehouse_worker.status.snapshot import Snapshot, take
from bakehouse_worker.status.telling import told

__all__ = ["Snapshot", "as_json", "take", "told"]
