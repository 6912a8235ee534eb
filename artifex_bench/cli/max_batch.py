"""`artifex-bench max-batch`: finds the largest batch that fits."""

from __future__ import annotations

import sys
from typing import Any

import click

from artifex_bench.cli.params import MEMORY, SECONDS, GroupedCommand, GroupedOption, case_options, run_options
from artifex_bench.cli.warnings import warn_if_untested
from artifex_bench.core.case import RematCase


def _search(**options: Any) -> None:
    from artifex_bench.cli.progress import show_run
    from artifex_bench.sweep.spec import max_batch_run

    warn_if_untested()
    folder, spec = max_batch_run(options)
    sys.exit(show_run(spec, folder))


max_batch = GroupedCommand(
    "max-batch",
    callback=_search,
    help="Find the largest batch that fits, for each --strategy and --target, by compiling.\n\nEvery axis may be a "
    "list. The largest batch that fits and the smallest that does not are both compiled. They are 1 apart (or "
    "--multiple-of), or 1 % if that is more.\n\nExample: artifex-bench max-batch --target tpu:v5e --strategy none,all",
    params=[
        GroupedOption(["--memory-budget"], type=MEMORY, help="Memory budget, if less than the target's: 8GiB."),
        GroupedOption(
            ["--multiple-of"], type=click.IntRange(1), default=1, show_default=True, help="Try multiples of this batch."
        ),
        GroupedOption(
            ["--limit"], type=click.IntRange(1), default=2**20, show_default=True, help="Largest batch to compile."
        ),
        GroupedOption(["--timeout"], type=SECONDS, help="Time limit per compilation.  [default: 1800]"),
        *run_options(leave_out=("rounds", "steps", "timeout")),
        *case_options(RematCase, leave_out=("batch",)),
    ],
)
