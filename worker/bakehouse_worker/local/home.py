"""The data directory: private to its owner, with the logs and the locks in it."""

from __future__ import annotations

from pathlib import Path

from bakehouse import ConfigurationError

#: Every worker process holds this lock, shared: whoever gets it alone knows that no worker is alive on this directory.
WORKERS_LOCK = "workers.lock"


def prepare_home(data_dir: Path) -> Path:
    """Make the data directory, private to its owner. Raises ConfigurationError if that cannot be."""
    home = data_dir.resolve()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"BAKEHOUSE_DATA_DIR {home} cannot be used: {error.strerror}") from None
    return home
