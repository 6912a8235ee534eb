"""The command line: parses options and prints results. Everything else is elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any

import click

from artifex_bench.cli.advise import advise
from artifex_bench.cli.compare import compare
from artifex_bench.cli.list import list_choices
from artifex_bench.cli.max_batch import max_batch
from artifex_bench.cli.profile import profile
from artifex_bench.cli.report import report
from artifex_bench.cli.run import run
from artifex_bench.core.case import CaseError
from artifex_bench.core.store import StoreError
from artifex_bench.report.text import plain

WRONG_USE = 2


class _Group(click.Group):
    """Turns errors that users can mend into one line, without the usage, and exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's own, but for errors."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(f"Error: {error.format_message()}", err=True)
            code = WRONG_USE
        except click.Abort:
            click.echo("Aborted!", err=True)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (CaseError, StoreError) as error:
            raise click.ClickException(plain(str(error))) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="artifex-bench")
def main() -> None:
    """What each checkpointing choice costs your JAX model: time against memory, measured."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding has no sign for is no failure
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (run, profile, max_batch, report, compare, advise, list_choices):
    main.add_command(command)
