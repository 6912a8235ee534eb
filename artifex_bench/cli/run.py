"""`artifex-bench run SUITE`: measures the cases of a suite. Each suite has the options of its kind of case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from artifex_bench.cli.completion import complete_from
from artifex_bench.cli.params import (
    FOLDER,
    GroupedCommand,
    GroupedOption,
    case_options,
    run_options,
)
from artifex_bench.cli.warnings import warn_if_untested
from artifex_bench.core.case import CaseError


class SuiteGroup(click.Group):
    """A group with a command for each suite, created on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the suites."""
        from artifex_bench.core.kind import all_suites

        return list(all_suites())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a suite. Raises CaseError for an unknown name, with the nearest."""
        from artifex_bench.sweep.spec import find_suite

        kind, suite = find_suite(cmd_name)
        preset = GroupedOption(
            ["--preset"],
            help=f"Size of the suite.  [{', '.join(suite.presets)}; default: {suite.default}]",
            shell_complete=complete_from(lambda: suite.presets),
        )
        example = f"artifex-bench run {cmd_name} {kind.example}".strip()
        return GroupedCommand(
            cmd_name,
            params=[preset, *run_options(), *case_options(kind.case_type)],
            help=f"{suite.summary}\n\nAn option of type LIST takes values separated by commas. They replace those of "
            f"the preset. Every combination is a case.\n\nExample: {example}",
            short_help=suite.summary,
            callback=lambda **options: _run_suite(cmd_name, options),
        )


@click.group(cls=SuiteGroup, invoke_without_command=True, subcommand_metavar="SUITE [OPTIONS]")
@click.option("--resume", type=FOLDER, help="Resume the run in this folder.")
@click.option(
    "--across", is_flag=True, help="Resume under other versions or on another machine. The run then mixes both."
)
@click.option("--wide", is_flag=True, help="Show all columns of the resumed run's tables.")
@click.pass_context
def run(context: click.Context, resume: Path | None, across: bool, wide: bool) -> None:
    """Measure the cases of a suite in fresh processes.

    Examples: artifex-bench run remat --preset quick; artifex-bench run --resume results/my-run
    """
    if resume is not None:
        if context.invoked_subcommand is not None:
            raise CaseError("--resume continues a run with its own suite and options: remove the suite")
        _resume(resume, across, wide)
    elif across or wide:
        option = "--across" if across else "--wide"
        raise CaseError(f"{option} is here for resumed runs: give --resume FOLDER as well, or --wide after the suite")
    elif context.invoked_subcommand is None:
        from artifex_bench.sweep.spec import find_suite

        find_suite(None)  # raises an error with the valid suites


def _run_suite(name: str, options: dict[str, Any]) -> None:
    from artifex_bench.cli.progress import show_run
    from artifex_bench.sweep.spec import new_run

    warn_if_untested()
    folder, spec = new_run(name, options)
    sys.exit(show_run(spec, folder, wide=options["wide"]))


def _resume(folder: Path, across: bool, wide: bool) -> None:
    from artifex_bench.cli.progress import show_run
    from artifex_bench.core.run_spec import PROFILE
    from artifex_bench.sweep.spec import resume_run

    warn_if_untested()
    spec = resume_run(folder, across)
    if spec.suite == PROFILE:
        from artifex_bench.cli.profile import show_profile

        sys.exit(show_profile(spec, folder, across, wide))
    sys.exit(show_run(spec, folder, across, wide))
