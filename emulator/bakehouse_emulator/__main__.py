"""`python -m bakehouse_emulator`."""

import sys

from bakehouse_emulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
