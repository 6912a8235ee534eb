"""The command `python -m validation FOLDER`: a run's numbers next to the published ones."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd

from artifex_bench.core.store import StoreError
from artifex_bench.report.frame import load_run
from validation.published_claims import format_claims_markdown

WRITTEN = "papers.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help=f"Also write the table into the run's folder, as {WRITTEN}.")
def main(folder: Path, write: bool) -> None:
    """Check published numbers against the run in FOLDER and print the result as Markdown.

    The run must be one of the suites `papers` or `chen`, or another remat run that has the cases of a claim.
    """
    try:
        run = load_run(folder)
    except StoreError as error:
        _exit_with_error(str(error))
    table = format_claims_markdown(run)
    if not table:
        _exit_with_error(f"{folder} {_explain_absence(run)}")
    click.echo(table, nl=False)
    if write:
        try:
            (folder / WRITTEN).write_text(table, encoding="utf-8")
        except OSError as error:
            _exit_with_error(f"cannot write {folder / WRITTEN}: {error.strerror}")


def _explain_absence(run: pd.DataFrame) -> str:
    """Return why no claim can be checked with a run."""
    if run.empty:
        return "holds no records yet"
    if not (run.status == "ok").any():
        return f"has no case that completed: {run.status.iloc[0]}: {run.reason.iloc[0]}"
    return "holds no completed case of a published claim: use a run of the suite papers or chen"


def _exit_with_error(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main(prog_name="python -m validation")
