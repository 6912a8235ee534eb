"""How commands print: text as it is, one line of status, and the width of the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from artifex_bench.report.text import make_printable

AS_IT_IS: Any = {"markup": False, "emoji": False}  # rich would interpret [brackets] and :codes: in names
PIPE_WIDTH = 200  # columns of text in a pipe, which has no width


def make_console() -> Console:
    """Return a console for text, as wide as the terminal."""
    return Console(**AS_IT_IS) if sys.stdout.isatty() else Console(width=PIPE_WIDTH, **AS_IT_IS)


def print_status(line: str) -> None:
    """Print one line to standard error, and flush it."""
    print(make_printable(line), file=sys.stderr, flush=True)


def print_line(console: Console, line: str) -> None:
    """Print one line to a console. The terminal breaks it where it must."""
    console.print(make_printable(line), soft_wrap=True)
