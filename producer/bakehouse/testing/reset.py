"""What a process remembers of the installation that it speaks to, forgotten: the next call looks at the environment again."""

from __future__ import annotations

import os

from bakehouse import client, reading


def clients() -> None:
    """Forget the client and the reader that the module's functions made, and close what the reader holds open."""
    client.default_client.cache_clear()
    if reading._reader_of.cache_info().currsize:
        close = getattr(reading._reader_of(os.getpid()), "close", None)
        if close is not None:
            close()
        reading._reader_of.cache_clear()
