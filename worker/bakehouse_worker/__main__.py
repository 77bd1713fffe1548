"""Entry point of the `bakehouse` command: starts the command line, or says which extra it needs."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line."""
    missing = [name for name in ("typer", "sqlmodel", "celery", "anthropic") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"bakehouse: this is the producer alone ({missing[0]} is not installed); "
            "for workers and the command line: pip install 'bakehouse[all]'\n"
        )
        raise SystemExit(2)
    from bakehouse_worker.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
