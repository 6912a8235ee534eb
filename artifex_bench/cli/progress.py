"""Progress of a run: a bar in a terminal, or plain lines in a pipe. Also tables and messages for the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from artifex_bench.core import run_spec, store
from artifex_bench.core.case_names import case_label
from artifex_bench.core.columns import Column
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import load_executor
from artifex_bench.kinds.remat import describe_compiled
from artifex_bench.report import comparison_words, text
from artifex_bench.report.tables import make_grids, split_tables
from artifex_bench.report.text import make_printable
from artifex_bench.sweep import scheduler

AS_IT_IS: Any = {"markup": False, "emoji": False}  # rich would interpret [brackets] and :codes: in names


def show_run(spec: RunSpec, folder: Path, across: bool = False) -> int:
    """Run the jobs of a spec, then show and write the report.

    Args:
        spec: The run spec.
        folder: The run's folder.
        across: Whether to resume in another environment, as `run_sweep` does.

    Returns:
        The exit code: 0 if every case is ok or skipped, 1 if a case failed, 130 if interrupted.
    """
    console = Console(stderr=True, **AS_IT_IS)
    executor = load_executor(spec.executor)
    left = scheduler.remaining_jobs(spec, folder, store.load_records(folder))
    work = f"{len(left)} jobs ({len(spec.cases)} cases, {spec.rounds} rounds)"
    work = work if spec.search is None else f"{len(spec.cases)} searches for the largest batch"
    _print_line(console, f"{work} into {folder}")
    try:
        if spec.search is None:
            with _JobProgress(console, len(left), spec.rounds) as shown:
                records = scheduler.run_sweep(spec, folder, executor.run, shown, executor.stop, across)
        else:
            records = scheduler.run_search(spec, folder, executor.run, _show_batch, executor.stop, across)
    except KeyboardInterrupt:
        _print_line(console, f"stopped. All records are kept. To resume: artifex-bench run --resume {folder}")
        return 130
    except store.StoreError as error:
        _print_line(console, f"Error: {error}. To resume: artifex-bench run --resume {folder}")
        return 1
    return _report_run(folder, spec.suite, records, console)


def _report_run(folder: Path, suite: str, records: list[Record], console: Console) -> int:
    from artifex_bench.report.build import write_report

    frame, _ = write_report(folder)
    show_tables(frame, suite)
    failed = [record for record in records if record.status not in ("ok", "skipped")]
    for record in failed:
        _print_line(console, f"{record.status}: {case_label(record.case)}: {record.reason}")
    _print_line(console, f"tables and plots: {folder}")
    return 1 if failed else 0


class _JobProgress:
    """Shows jobs as they begin and end."""

    def __init__(self, console: Console, total: int, rounds: int):
        self._console, self._total, self._rounds, self._done = console, total, rounds, 0
        self._start = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _JobProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, job: Job, record: Record | None) -> None:
        several = self._rounds > 1 and job.case.is_local  # compiled cases have one round
        name = case_label(job.case) + (f" round {job.round + 1}/{self._rounds}" if several else "")
        if record is None:
            self._bar.update(self._task, description=make_printable(name))
            return
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if not self._console.is_terminal:
            print_status(f"[{self._done}/{self._total}] {name}: {_describe_outcome(record)}")
        elif record.status not in ("ok", "skipped"):
            _print_line(self._bar.console, f"{record.status}: {name}: {record.reason}")


def _show_batch(record: Record) -> None:
    """Print a compiled batch of a search, whose number of batches is not known beforehand."""
    outcome = describe_compiled(record) if record.status == "ok" else f"{record.status}: {record.reason}"
    print_status(f"{case_label(record.case)}: {outcome}")


def _describe_outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    words: str = load_kind(record.case.kind).table_of(record.case).describe_outcome(record)
    return words


def warn_if_unfinished(folder: Path) -> int:
    """Return the number of jobs of a run that have not run yet. Warn if there are any."""
    left = len(scheduler.remaining_jobs(run_spec.load_run_spec(folder), folder, store.load_records(folder)))
    if left:
        warning = f"{folder} is unfinished: {left} jobs have not run yet, and may change the result"
        print_status(f"{warning}. To resume: artifex-bench run --resume {folder}")
    return left


def show_tables(frame: Any, suite: str | None = None) -> None:
    """Print the tables of a run. A narrow terminal drops the columns with the largest priority number."""
    console = _make_console()
    for kind, table, rows in split_tables(frame, suite):
        for grid in make_grids(kind, table, rows):
            shown = _select_columns(grid.columns, grid.rows, console.width)
            headings = [grid.columns[i].heading for i in shown]
            left = [n for n, i in enumerate(shown) if grid.columns[i].is_text]
            _print_grid(console, grid.title, headings, left, [[row[i] for i in shown] for row in grid.rows])
            for note in grid.notes:
                console.print(make_printable(note))
            console.print()
        console.print(table.legend.strip())


def _select_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the indices of the columns that fit into a width. Columns of priority 0 always stay."""
    shown = list(range(len(columns)))
    widths = [max(map(len, (columns[i].heading, *(row[i] for row in rows)))) for i in shown]
    while sum(widths[i] + 2 for i in shown) - 2 > width:
        last = max(shown, key=lambda i: (columns[i].priority, i))
        if columns[last].priority == 0:
            break
        shown.remove(last)
    return shown


def show_grids(grids: Iterable[tuple[str, Any, Any, list[list[str]], list[str]]]) -> None:
    """Print tables of (title, headings, indices of left-aligned columns, lines, notes)."""
    console = _make_console()
    for title, headings, left, lines, notes in grids:
        _print_grid(console, title, headings, left, lines)
        for note in notes:
            console.print(make_printable(note))
        console.print()


def show_comparison(table: Any, notes: list[str], everything: bool, form: str) -> None:
    """Print the changes between two runs, and notes on how the runs differ.

    Args:
        table: The compared rows.
        notes: The notes.
        everything: Whether tables show unchanged rows too. CSV and JSON always do.
        form: `table`, `markdown`, `csv` or `json`.
    """
    if form in ("csv", "json"):
        print(text.format_csv(table) if form == "csv" else text.format_json_rows(table))
        for note in notes:
            print_status(note)
        return
    shown = table if everything else table[table.change != "same"]
    title = comparison_words.summarize_changes(table)
    if form == "markdown":
        print(
            "\n\n".join(
                [*map(text.escape_markdown_line, (title, *notes)), comparison_words.make_comparison_table(shown)]
            )
        )
        return
    console = _make_console()
    lines = [comparison_words.format_row(row) for row in shown.itertuples()]
    _print_grid(console, title, comparison_words.HEADINGS, comparison_words.LEFT_ALIGNED, lines)
    for note in notes:
        console.print(make_printable(note))


def print_status(line: str) -> None:
    """Print one line to standard error, and flush it."""
    print(make_printable(line), file=sys.stderr, flush=True)


def _print_line(console: Console, line: str) -> None:
    console.print(make_printable(line), soft_wrap=True)


def _make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for whole lines in a pipe."""
    return Console(**AS_IT_IS) if sys.stdout.isatty() else Console(width=200, **AS_IT_IS)


def _print_grid(console: Console, title: str, headings: Any, left: Any, lines: list[list[str]]) -> None:
    from rich.table import Table

    grid = Table(title=make_printable(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if i in left else "right")
    for line in lines:
        grid.add_row(*map(make_printable, line))
    console.print(grid)
