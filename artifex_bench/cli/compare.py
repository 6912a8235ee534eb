"""`artifex-bench compare`: compares two runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from artifex_bench.cli.params import Picture, Threshold
from artifex_bench.core import store
from artifex_bench.core.case import CaseError


@click.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--across", is_flag=True, help="Compare runs of different machines, devices or versions.")
@click.option("--all", "everything", is_flag=True, help="Show unchanged rows too.")
@click.option(
    "--threshold", type=Threshold(), multiple=True, help="Relative change that matters: step_seconds=0.2. Repeatable."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv", "json"]),
    default="table",
    show_default=True,
    help="Format of the output.",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page into this file.")
@click.option("--plot", type=Picture(), help="Plot the ratios into this file: .png, .svg or .pdf.")
@click.option(
    "--fail-on", type=click.Choice(["regression", "unsure"]), help="Exit with 1 if a change is this bad, or worse."
)
@click.option("--wide", is_flag=True, help="Show all columns of the table, however narrow the terminal is.")
def compare(
    base: Path,
    new: Path,
    across: bool,
    everything: bool,
    threshold: tuple[tuple[str, float], ...],
    form: str,
    html: Path | None,
    plot: Path | None,
    fail_on: str | None,
    wide: bool,
) -> None:
    """Compare the run in NEW with the run in BASE: what became slower or larger, and how certain that is.

    Example: artifex-bench compare results/before results/after --fail-on regression
    """
    from artifex_bench.cli.progress import warn_if_unfinished
    from artifex_bench.cli.tables import show_comparison
    from artifex_bench.report.comparison import compare_runs
    from artifex_bench.report.comparison_words import describe_differences

    records = store.load_records(base), store.load_records(new)
    table = compare_runs(*records, across=across, thresholds=dict(threshold))
    for folder in (base, new):
        warn_if_unfinished(folder)
    notes = describe_differences(*records)
    show_comparison(table, notes, everything, form, wide)
    if html is not None:
        pages, names = load_pages(), [folder.resolve().name for folder in (base, new)]
        write_file("--html", html, lambda: pages.write_comparison_page(table, notes, *names, html))
    if plot is not None:
        from artifex_bench.report.plots.comparison import write_comparison

        write_file("--plot", plot, lambda: write_comparison(table, plot))
        if left_out := int(table.ratio.isna().sum()):
            click.echo(f"not plotted, because they have no ratio: {left_out} of {len(table)} rows", err=True)
    failing = {None: set(), "regression": {"regression"}, "unsure": {"regression", "unsure"}}[fail_on]
    sys.exit(1 if failing & set(table.change) else 0)


def load_pages() -> Any:
    """Return the module that writes pages on several runs. Raises ClickException if a package is missing."""
    try:
        from artifex_bench.report.html import runs
    except ImportError as error:
        raise click.ClickException(f"--html needs {error.name}: pip install 'artifex-bench[html]'") from error
    return runs


def write_file(option: str, path: Path, write: Callable[[], Path]) -> None:
    """Write the file of an option and print its path. Raises CaseError if it cannot be written."""
    try:
        click.echo(write(), err=True)
    except ValueError as error:
        raise CaseError(f"{option} {str(path)!r}: {error}") from error
    except OSError as error:
        raise CaseError(f"{option} {str(path)!r}: cannot be written: {error.strerror}") from error
