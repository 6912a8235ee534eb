"""`artifex-bench max-batch`: finds the largest batch that fits."""

from __future__ import annotations

import sys
from typing import Any

from artifex_bench.cli.params import MEMORY, SECONDS, GroupedCommand, GroupedOption, Whole, case_options, run_options
from artifex_bench.cli.warnings import warn_if_untested
from artifex_bench.core.case import RematCase


def _run_max_batch(**options: Any) -> None:
    from artifex_bench.cli.progress import show_run
    from artifex_bench.sweep.spec import max_batch_run

    warn_if_untested()
    folder, spec = max_batch_run(options)
    sys.exit(show_run(spec, folder, wide=options["wide"]))


max_batch = GroupedCommand(
    "max-batch",
    callback=_run_max_batch,
    help="Find the largest batch that fits, by compiling.\n\n"
    "Every combination of the axes is a search, for example each strategy on each target. A search compiles the "
    "largest batch that fits and the smallest that does not. They are 1 apart (or --multiple-of), or 1 % if that is "
    "more.\n\nExample: artifex-bench max-batch --target tpu:v5e --strategy none,all",
    params=[
        GroupedOption(["--memory-budget"], type=MEMORY, help="Memory budget, if less than the target's: 8GiB."),
        GroupedOption(
            ["--multiple-of"], type=Whole(1), default=1, show_default=True, help="Compile only multiples of this batch."
        ),
        GroupedOption(["--limit"], type=Whole(1), default=2**20, show_default=True, help="Largest batch to compile."),
        GroupedOption(["--timeout"], type=SECONDS, help="Time limit per compilation.  [default: 1800]"),
        *run_options(leave_out=("rounds", "steps", "timeout")),
        *case_options(RematCase, leave_out=("batch",)),
    ],
)
