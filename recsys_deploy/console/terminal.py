"""The terminal that commands print to."""

import sys
from typing import Final

from rich.console import Console

PIPED_WIDTH: Final = 120
"""Columns where no terminal says how wide it is, as in a log."""


def terminal() -> Console:
    """Standard output, as wide as its terminal is; nothing is coloured that a command does not mark up."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
