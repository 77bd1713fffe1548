"""What a process remembers of the installation that it speaks to, forgotten: the next call looks at the environment again."""

from __future__ import annotations

import sys

from bakehouse import client


def clients() -> None:
    """Forget the clients and readers that the module's functions made."""
    client.default_client.cache_clear()
    reading = sys.modules.get("bakehouse.reading")  # imported by nobody: nothing to forget
    if reading is not None:
        reading.forget()
