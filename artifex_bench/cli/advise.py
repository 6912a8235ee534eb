"""`artifex-bench advise`: says what to choose."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from artifex_bench.cli.params import MEMORY, MULTIPLE, SECONDS
from artifex_bench.cli.report import check_has_advice
from artifex_bench.core.run_spec import load_run_spec


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--memory-budget", type=MEMORY, help="Limit of the compiled and measured peak: 8GiB.")
@click.option("--time-budget", type=MULTIPLE, help="Limit of the step time as a multiple of strategy none: 1.1x.")
@click.option("--mtbf", "mtbf_seconds", type=SECONDS, help="Mean time between failures, for how often to save: 4h.")
@click.option("--target", help="AOT target whose memory must suffice: tpu:v5e.")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON (docs/advice.md).")
def advise(folder: Path, as_json: bool, **budgets: Any) -> None:
    """Say what to choose from a run's figures, why the others were rejected, and how certain that is.

    The exit code is 1 if no case meets the budgets.

    Example: artifex-bench advise results/my-run --memory-budget 8GiB
    """
    from artifex_bench import advice
    from artifex_bench.cli.progress import warn_if_unfinished
    from artifex_bench.report.frame import load_run

    check_has_advice(folder, load_run_spec(folder).suite)
    answers = advice.advise(load_run(folder), **budgets)
    warn_if_unfinished(folder)
    if as_json:
        click.echo(json.dumps([answer.to_json() for answer in answers], indent=1, allow_nan=False))
    else:
        click.echo("\n\n".join(map(advice.format_advice, answers)))
    sys.exit(0 if any(answer.is_met for answer in answers) else 1)
