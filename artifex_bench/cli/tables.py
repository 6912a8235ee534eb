"""Tables in the terminal. A narrow one leaves out columns by priority; no number and no name is cut off."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from artifex_bench.cli.console import AS_IT_IS, make_console, print_status
from artifex_bench.report import comparison_words, text
from artifex_bench.report.tables import make_grids, split_tables
from artifex_bench.report.text import make_printable

GAP = 2  # columns of space between two columns of a table
USUAL = 1  # the priority of a column, as in `core.columns.Column`
# Priorities of headings in tables of profiles and comparisons. A larger number is left out first.
PRIORITIES = {
    **dict.fromkeys(("bytes", "difference", "operation", "case", "quantity", "ratio", "change"), 0),
    **dict.fromkeys(("pass", "source", "95 %"), 2),
    **dict.fromkeys(("buffers", "values", "shape", "dtype", "reason"), 3),
}


@dataclass(frozen=True, eq=False)
class Shown:
    """A column of a table as printed: its cells, and from which priority a narrow terminal leaves it out."""

    heading: str
    cells: Sequence[str]
    is_text: bool
    priority: int

    @property
    def width(self) -> int:
        """The width with its heading on one line."""
        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def narrow_width(self) -> int:
        """The width with its heading on several lines."""
        return max(map(cell_len, (*self.heading.split(), *self.cells)))

    @property
    def least_width(self) -> int:
        """The width with its words on several lines. Numbers stay on one."""
        words = (word for cell in self.cells for word in cell.split())
        return max(map(cell_len, (*self.heading.split(), *words))) if self.is_text else self.narrow_width


def show_tables(frame: Any, suite: str | None = None, wide: bool = False) -> None:
    """Print the tables of a run.

    Args:
        frame: The rows of its cases.
        suite: Name of its suite.
        wide: Whether to print all columns, however narrow the terminal is.
    """
    console = make_console()
    for kind, table, rows in split_tables(frame, suite):
        grids = list(make_grids(kind, table, rows))
        tables = [
            [
                Shown(column.heading, [make_printable(row[i]) for row in grid.rows], column.is_text, column.priority)
                for i, column in enumerate(grid.columns)
            ]
            for grid in grids
        ]
        fitting = None if wide else _select_for_all(tables, console)
        for grid, columns in zip(grids, tables, strict=True):
            _print_table(console, grid.title, columns, fitting)
            _print_notes(console, grid.notes)
            console.print()
        _print_left_out(console, tables, fitting)
        legend = table.legend.strip()
        console.print(" ".join(legend.split()) if sys.stdout.isatty() else legend)


def show_grids(grids: Iterable[tuple[str, Any, Any, list[list[str]], list[str]]], wide: bool = False) -> None:
    """Print tables of (title, headings, indices of left-aligned columns, lines, notes)."""
    console = make_console()
    for title, headings, left, lines, notes in grids:
        columns = _make_columns(headings, left, lines)
        fitting = None if wide else _select_for_all([columns], console)
        _print_table(console, title, columns, fitting)
        _print_notes(console, notes)
        _print_left_out(console, [columns], fitting)
        console.print()


def show_comparison(table: Any, notes: list[str], everything: bool, form: str, wide: bool = False) -> None:
    """Print the changes between two runs, and notes on how the runs differ.

    Args:
        table: The compared rows.
        notes: The notes.
        everything: Whether tables show unchanged rows too. CSV and JSON always do.
        form: `table`, `markdown`, `csv` or `json`.
        wide: Whether a table has all columns, however narrow the terminal is.
    """
    if form in ("csv", "json"):
        print(text.format_csv(table) if form == "csv" else text.format_json_rows(table))
        for note in notes:
            print_status(note)
        return
    shown = table if everything else table[table.change != "same"]
    title = comparison_words.summarize_changes(table)
    if form == "markdown":
        table_text = comparison_words.make_comparison_table(shown)
        print("\n\n".join([*map(text.escape_markdown_line, (title, *notes)), table_text]))
        return
    console = make_console()
    lines = [comparison_words.format_row(row) for row in shown.itertuples()]
    columns = _make_columns(comparison_words.HEADINGS, comparison_words.LEFT_ALIGNED, lines)
    fitting = None if wide else _select_for_all([columns], console)
    _print_table(console, title, columns, fitting)
    _print_notes(console, notes)
    _print_left_out(console, [columns], fitting)


def _make_columns(headings: Sequence[str], left: Sequence[int], lines: Sequence[Sequence[str]]) -> list[Shown]:
    return [
        Shown(
            make_printable(heading),
            [make_printable(line[i]) for line in lines],
            i in left,
            PRIORITIES.get(heading, USUAL),
        )
        for i, heading in enumerate(headings)
    ]


def _select_for_all(tables: Sequence[Sequence[Shown]], console: Console) -> list[int] | None:
    """Return the indices of the columns that fit in every table; None if all are printed, as in a pipe."""
    if not sys.stdout.isatty() or not tables:
        return None
    merged = [
        Shown(one.heading, [cell for column in columns for cell in column.cells], one.is_text, one.priority)
        for columns in zip(*tables, strict=True)
        for one in columns[:1]
    ]
    return select_columns(merged, console.width)


def select_columns(columns: Sequence[Shown], width: int) -> list[int]:
    """Return the indices of the columns that fit into a width. Those of priority 0 always stay."""
    shown = list(range(len(columns)))
    while sum(columns[i].narrow_width + GAP for i in shown) - GAP > width:
        last = max(shown, key=lambda i: (columns[i].priority, i))
        if columns[last].priority == 0:
            break
        shown.remove(last)
    return shown


def choose_widths(columns: Sequence[Shown], width: int) -> list[int]:
    """Return the width of each column: as much as it can use, if all fit; never less than its longest number or name.

    Cells of words are broken between words if nothing else helps.
    """
    space = width - GAP * (len(columns) - 1)
    full, narrow = [column.width for column in columns], [column.narrow_width for column in columns]
    if sum(full) <= space:
        return full
    if sum(narrow) <= space:
        return narrow
    least = [column.least_width for column in columns]
    for i, column in enumerate(columns):
        spare = max(0, space - sum(least))
        least[i] += min(spare, column.narrow_width - least[i])
    return least


def _print_table(console: Console, title: str, columns: Sequence[Shown], fitting: Sequence[int] | None) -> None:
    """Print a table with the columns of these indices; with all of them, on lines of any length, if they are None."""
    from rich.table import Table

    shown = list(columns) if fitting is None else [columns[i] for i in fitting]
    widths = [column.width for column in shown] if fitting is None else choose_widths(shown, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column, width in zip(shown, widths, strict=True):
        table.add_column(column.heading, justify="left" if column.is_text else "right", width=width, overflow="fold")
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*row)
    if title:
        console.print(make_printable(title), style="bold", soft_wrap=not sys.stdout.isatty())
    Console(width=sum(widths) + GAP * len(widths), **AS_IT_IS).print(table)


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(make_printable(note), soft_wrap=not sys.stdout.isatty())


def _print_left_out(console: Console, tables: Sequence[Sequence[Shown]], fitting: Sequence[int] | None) -> None:
    """Say which columns are left out, if there are any, and how to see them."""
    if fitting is None or len(fitting) == len(tables[0]):
        return
    names = ", ".join(column.heading for i, column in enumerate(tables[0]) if i not in fitting)
    console.print(f"left out: {names}. To see all columns: --wide")
