"""`artifex-bench report`: makes the tables, plots and page of a run from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from artifex_bench.cli.params import MEMORY, MULTIPLE, SECONDS
from artifex_bench.core import store
from artifex_bench.core.case import CaseError
from artifex_bench.core.run_spec import MAX_BATCH, RunSpec, load_run_spec
from artifex_bench.report.text import make_printable


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plots/--no-plots", default=True, show_default=True, help="Make the plots too.")
@click.option("--html", is_flag=True, help="Write page.html too, one file that works from disk.")
@click.option("--memory-budget", type=MEMORY, help="Memory budget of the page's advice: 8GiB.")
@click.option("--time-budget", type=MULTIPLE, help="Time budget of the page's advice.  [default: 1.1x]")
@click.option(
    "--mtbf", "mtbf_seconds", type=SECONDS, help="Mean time between failures of the page's advice.  [default: 4h]"
)
@click.option("--wide", is_flag=True, help="Show all columns of tables, however narrow the terminal is.")
def report(folder: Path, plots: bool, html: bool, wide: bool, **budgets: Any) -> None:
    """Make the tables and plots of a run from its records.

    Example: artifex-bench report results/my-run --html
    """
    spec = load_run_spec(folder)
    given = {name: value for name, value in budgets.items() if value is not None}
    if given and not html:
        option = "--" + next(iter(given)).removesuffix("_seconds").replace("_", "-")
        raise CaseError(f"{option}: is for the page: give --html as well, or use artifex-bench advise")
    if given:
        check_has_advice(folder, spec.suite)
    from artifex_bench.cli.tables import show_tables
    from artifex_bench.report.build import write_report

    frame, written = write_report(folder, plots)
    if html:
        written.append(_write_page(folder, spec, frame, given))
    show_tables(frame, spec.suite, wide)
    for path in written:
        click.echo(make_printable(str(path)))


def check_has_advice(folder: Path, suite: str | None) -> None:
    """Raise CaseError if a run has no advice, because its table is the answer."""
    if suite == MAX_BATCH:
        raise CaseError(f"{folder} has searches for the largest batch, without advice: read its table.md")


def _write_page(folder: Path, spec: RunSpec, frame: Any, budgets: dict[str, Any]) -> Path:
    from artifex_bench.advice import advise
    from artifex_bench.advice.by_budget import rank_for_memory
    from artifex_bench.advice.words import describe_advice, describe_ranking
    from artifex_bench.cli.progress import warn_if_unfinished
    from artifex_bench.report.tables import split_tables

    try:
        from artifex_bench.report.html.page import write_page
    except ImportError as error:
        raise click.ClickException(f"--html needs {error.name}: pip install 'artifex-bench[html]'") from error
    questions = [(budgets, frame)]
    if not budgets:
        questions = [
            (usual, rows)
            for _, table, rows in split_tables(frame, spec.suite)
            if (usual := table.default_budgets(rows)) is not None
        ]
    texts = [describe_advice(advice) for usual, rows in questions for advice in advise(rows, **usual)]
    is_sweep = spec.suite != MAX_BATCH and spec.cases[0].kind == "remat"
    rankings = [describe_ranking(one) for one in rank_for_memory(frame)] if is_sweep else []
    left = warn_if_unfinished(folder)
    try:
        records, name = store.load_records(folder), folder.resolve().name
        return write_page(records, texts, name, folder / "page.html", left, spec, rankings, frame)
    except OSError as error:
        raise store.StoreError(f"cannot write the page of {folder}: {error.strerror}") from error
