"""The socket of a create: what its sender no longer stands for, its sender's kernel must not deliver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

PIECE = 100_000

SENDER = f"""
import os, signal
from bakehouse_worker.gateway import Gateway

def body():
    yield b"x" * {PIECE}
    yield b"y" * {PIECE}
    os.kill(os.getpid(), signal.SIGKILL)  # dies with what it has sent still in its kernel

Gateway(5.0).create(body(), {3 * PIECE}, (), "2023-06-01")
"""


def test_a_sender_that_is_killed_takes_back_what_lies_in_its_kernel():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        env = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "key"}
        sender = subprocess.Popen([sys.executable, "-c", SENDER], env=env)
        connection, _ = listener.accept()
        assert sender.wait(30) == -signal.SIGKILL
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            return
        raise AssertionError(f"{len(received):,} bytes of a dead sender were delivered, and an orderly end behind them")
