"""The command `demo`: a small recorded run that ships with the package, reported as any other run."""

from __future__ import annotations

import importlib.resources
import shlex
from pathlib import Path

import click

from artifex_bench.core import store
from artifex_bench.core.case import CaseError
from artifex_bench.core.record import Record
from artifex_bench.report.text import make_printable

RECORDED_RUN = importlib.resources.files("artifex_bench") / "demo"
TIME_BUDGET = 1.1  # for the advice, as a multiple of the step time of strategy none
NEXT_COMMAND = "artifex-bench run remat --preset quick"


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifex-bench-demo"),
    show_default=True,
    help="Folder to write the run into. It must be new or empty.",
)
@click.option("--wide", is_flag=True, help="Show all columns of tables, however narrow the terminal is.")
def demo(out: Path, wide: bool) -> None:
    """Show the report of a small recorded run.

    The command writes tables and plots, and prints advice. It measures nothing.

    Example: artifex-bench demo
    """
    from artifex_bench import advice
    from artifex_bench.cli.tables import show_tables
    from artifex_bench.report.build import write_report

    copy_recorded_run(out)
    table, written = write_report(out)
    show_tables(table, wide=wide)
    click.echo(f"\n{make_printable(describe_origin(store.load_records(out)))}\n")
    for answer in advice.advise(table, time_budget=TIME_BUDGET):
        click.echo(f"{advice.format_advice(answer)}\n")
    click.echo(make_printable(f"Wrote {', '.join(str(path) for path in written)}"))
    click.echo(f"To write this run as a page, run: artifex-bench report {make_printable(shlex.quote(str(out)))} --html")
    click.echo(f"To measure this machine, run: {NEXT_COMMAND}")


def copy_recorded_run(folder: Path) -> None:
    """Copy the recorded run of the package into a folder.

    Args:
        folder: A new or an empty folder. Missing parents are created.

    Raises:
        CaseError: The folder is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CaseError(f"--out '{folder}': the folder is not empty: choose a new or an empty one")
        for name in (store.RECORDS, store.MANIFEST):
            (folder / name).write_bytes((RECORDED_RUN / name).read_bytes())
    except OSError as error:
        raise CaseError(f"--out '{folder}': cannot be written: {error.strerror}") from error


def describe_origin(records: list[Record]) -> str:
    """Describe where and when recorded numbers were measured.

    Args:
        records: Records of one run with an environment.

    Returns:
        One sentence with the device, the version of JAX and the date.
    """
    environment = records[0].environment
    device = environment["device"]
    if environment["platform"] == "cpu":
        device = f"a CPU ({environment['cpu']}, {environment['cores']} cores)"
    return (
        f"These numbers were recorded on {device} with jax {environment['versions']['jax']} on "
        f"{records[0].started_at[:10]}. They are not from this machine."
    )
