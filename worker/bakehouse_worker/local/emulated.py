"""The emulator beside the stack: the whole way of a record without a key and without a bill."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from bakehouse import ConfigurationError
from bakehouse_worker.local.supervise import Child

#: What is faster than usual, because the emulator's clock is. A setting that is set stays as it is.
FAST = {
    "BAKEHOUSE_LINGER": "1",
    "BAKEHOUSE_POLL_INTERVAL": "0.5",
    "BAKEHOUSE_RETRY_BASE": "1",
    "BAKEHOUSE_TICK": "0.5",
}
#: Emulated seconds per second, and per batch: a batch takes one second.
SPEED, BATCH_SECONDS = "60", "60"


def use(home: Path) -> None:
    """Point this process, and the children that inherit its environment, at the emulator of a data directory."""
    if find_spec("bakehouse_emulator") is None or find_spec("starlette") is None:
        raise ConfigurationError("the emulator is not installed: pip install 'bakehouse[emulator]'")
    os.environ["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{_port(home)}"
    os.environ["ANTHROPIC_API_KEY"] = "emulator"
    os.environ.pop("ANTHROPIC_AUTH_TOKEN", None)
    for name, value in FAST.items():
        os.environ.setdefault(name, value)


def child(home: Path, script: Path | None = None) -> Child:
    """Prepare the emulator's process. Its batches outlive it, in the data directory, as the real API's would."""
    port = _port(home)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigurationError(
                f"port {port} of this data directory's emulator is in use; end what uses it"
            ) from None
    argv = [sys.executable, "-m", "bakehouse_emulator", "--port", str(port), "--state", str(home / "emulator")]
    argv += ["--speed", SPEED, "--batch-seconds", BATCH_SECONDS, "--quiet"]
    if script is not None:
        argv += ["--script", str(script)]
    return Child("emulator", argv, dict(os.environ), home / "logs" / "emulator.log")


def _port(home: Path) -> int:
    """Return the data directory's port, chosen once: the origin of its batches must not change."""
    file = home / "emulator" / "port"
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        file.write_text(f"{port}\n", encoding="utf-8")
        return port
