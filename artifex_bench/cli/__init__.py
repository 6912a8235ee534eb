"""The command line: parses options and prints results."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from artifex_bench import __version__
from artifex_bench.cli.advise import advise
from artifex_bench.cli.compare import compare
from artifex_bench.cli.completion import use_colon_bash
from artifex_bench.cli.demo import demo
from artifex_bench.cli.history import history
from artifex_bench.cli.list import list_choices
from artifex_bench.cli.max_batch import max_batch
from artifex_bench.cli.profile import profile
from artifex_bench.cli.report import report
from artifex_bench.cli.run import run
from artifex_bench.core.case import CaseError
from artifex_bench.core.store import StoreError
from artifex_bench.report.text import make_printable

WRONG_USE = 2
LOST_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)  # standard output takes no more


class _Group(click.Group):
    """Shows errors of wrong use as one line without the usage, and exits with code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command, as click does, and exit."""
        use_colon_bash()
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            if sys.stdout is not None:  # None if its file descriptor was closed
                sys.stdout.flush()
        except click.ClickException as error:
            click.echo(f"Error: {error.format_message()}", err=True)
            code = WRONG_USE
        except click.Abort:
            click.echo("Aborted!", err=True)
            code = 1
        except OSError as error:
            if error.errno not in LOST_OUTPUT or error.filename is not None:  # the error of a file
                raise
            _discard_output()
            if error.errno != errno.EPIPE:  # a reader such as `head` may close the pipe
                click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        """Run the command. Errors in cases and run folders become click's errors."""
        try:
            return super().invoke(context)
        except (CaseError, StoreError) as error:
            raise click.ClickException(make_printable(str(error))) from error


def _discard_output() -> None:
    """Let Python drop the output that it could not write: at its exit it would try again, and print a traceback."""
    with contextlib.suppress(OSError, ValueError):  # the output is closed, or is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


COMPLETION = """To complete names with Tab, add this line to ~/.bashrc (zsh and fish: docs/terminal.md):

eval "$(_ARTIFEX_BENCH_COMPLETE=bash_source artifex-bench)"
"""


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=COMPLETION,
)
@click.version_option(__version__)
def main() -> None:
    """What each checkpointing choice costs your JAX model: time against memory, measured."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (run, profile, max_batch, report, compare, history, advise, list_choices, demo):
    main.add_command(command)
