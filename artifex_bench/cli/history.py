"""`artifex-bench history`: shows the figures of several runs over time, and where they changed."""

from __future__ import annotations

from pathlib import Path

import click

from artifex_bench.cli.params import Picture
from artifex_bench.core import store


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page into this file.")
@click.option("--plot", type=Picture(), help="Plot the history into this file: .png, .svg or .pdf.")
@click.option("--all", "everything", is_flag=True, help="Show figures without a change point too.")
@click.option("--wide", is_flag=True, help="Show all columns of tables, however narrow the terminal is.")
def history(folders: tuple[Path, ...], html: Path | None, plot: Path | None, everything: bool, wide: bool) -> None:
    """Show each figure of each case over runs, the oldest first, with its change points.

    Example: artifex-bench history results/monday results/tuesday results/wednesday --html history.html
    """
    from artifex_bench.cli.compare import load_pages, write_file
    from artifex_bench.cli.console import print_status
    from artifex_bench.cli.tables import show_grids
    from artifex_bench.report import history as data
    from artifex_bench.report import history_words as words

    runs = data.sort_runs([(folder.resolve().name, store.load_records(folder)) for folder in folders])
    names = [name for name, _ in runs]
    series = data.trace_series(runs)
    notes = data.describe_changed_settings(runs)
    changed = [one for one in series if one.changes]
    shown = series if everything or not data.can_detect_changes() else changed
    title = f"{len(names)} runs: {len(changed)} of {len(series)} figures have a change point"
    lines = [words.format_series(one, names) for one in shown]
    show_grids([(title, words.HEADINGS, words.LEFT_ALIGNED, lines, notes)], wide)
    if not data.can_detect_changes():
        print_status(f"no change points, because {data.DETECTOR} is not installed: pip install {data.DETECTOR}")
    if html is not None:
        pages = load_pages()
        write_file("--html", html, lambda: pages.write_history_page(series, names, notes, html))
    if plot is not None:
        from artifex_bench.report.plots.history import write_history

        write_file("--plot", plot, lambda: write_history(series, names, plot))
