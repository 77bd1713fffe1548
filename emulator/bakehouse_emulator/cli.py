"""`python -m bakehouse_emulator`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.server import PortInUse, serve


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    made = argparse.ArgumentParser(
        prog="python -m bakehouse_emulator",
        description="A Message Batches API on your own machine, with a fast clock and faults on demand.",
    )
    add = made.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8400, help="port to listen on; 0 = any free one (default: %(default)s)")
    add(
        "--speed",
        type=float,
        default=60.0,
        help="emulated seconds per real second; 0 = only when stepped (default: 60)",
    )
    add("--batch-seconds", type=float, default=60.0, metavar="S", help="emulated duration of a batch (default: 60)")
    add("--state", metavar="DIR", help="keep everything in this directory, across restarts and kills")
    add("--script", metavar="FILE", help="JSON file with rules and options")
    add("--keys", type=_keys, default={}, metavar="KEY=WORKSPACE,...", help="which workspace a key belongs to")
    add("--seed", type=int, default=0, help="decides the order of results and the shares of rules")
    add("--port-file", metavar="FILE", help="write the port there once listening")
    add("--quiet", action="store_true", help="do not print the address")
    return made


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _keys(text: str) -> dict[str, str]:
    pairs = [each.partition("=") for each in text.split(",") if each]
    if not all(key and workspace for key, _, workspace in pairs):
        raise argparse.ArgumentTypeError("wants key=workspace pairs, separated by commas")
    return {key: workspace for key, _, workspace in pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the emulator until it is stopped. Exit code 2: it could not start, said in one sentence."""
    given = parser().parse_args(arguments)
    options = EmulatorOptions(**vars(given))
    if not 0 <= options.port <= 65_535:
        sys.stderr.write(f"--port {options.port} is no port; give one from 1 to 65535, or 0 for any free one\n")
        return 2
    try:
        serve(options, (lambda _: None) if options.quiet else _say)
    except (PortInUse, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
