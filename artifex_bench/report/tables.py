"""Tables: `table.csv` with every column, `table.md` and the terminal with those that decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from artifex_bench.core.columns import Column
from artifex_bench.core.kind import Kind, Table
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import MAX_BATCH
from artifex_bench.report import text


@dataclass(frozen=True)
class Grid:
    """One group of rows as cells of text: what a terminal, Markdown or the page shows.

    Attributes:
        title: Title of the group.
        frame: The rows that are shown.
        columns: The columns that are shown.
        rows: A list of cells for each row.
        notes: What the cells do not say.
    """

    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    rows: list[list[str]]
    notes: list[str]

    @property
    def headings(self) -> list[str]:
        """The headings of the columns."""
        return [column.heading for column in self.columns]


def split_tables(frame: pd.DataFrame, suite: str | None = None) -> Iterator[tuple[Kind, Table, pd.DataFrame]]:
    """Yield (kind, table, its rows of cases) of a run: what ran comes before what was only compiled.

    Searches for the largest batch have a table of their own. `suite` is that of the run; None: as `load_run` found it.
    """
    kind: Kind = load_kind(frame.kind.iloc[0])
    if (suite or frame.attrs.get("suite")) == MAX_BATCH:
        yield kind, next(table for table in kind.tables if table.name == MAX_BATCH), frame
        return
    names = pd.Series([kind.table_of(row).name for row in frame.itertuples()], index=frame.index)
    for table in kind.tables:
        rows = frame[names == table.name]
        if len(rows):
            yield kind, table, rows


def make_grids(kind: Kind, table: Table, rows: pd.DataFrame) -> Iterator[Grid]:
    """Yield the groups of a table's rows as cells of text."""
    columns = kind.columns_of(table)
    for title, group in table.group_rows(rows):
        shown = table.make_rows(group)
        cells = [[column.show(row) for column in columns] for row in shown.itertuples()]
        yield Grid(title, shown, columns, cells, list(table.make_notes(group)))


def write_tables(frame: pd.DataFrame, folder: Path, suite: str | None = None) -> list[Path]:
    """Write `table.csv` and `table.md`, and for searches `max_batch.csv` and `.json`; returns their paths."""
    written = [folder / "table.csv", folder / "table.md"]
    written[0].write_text(text.format_csv(frame), encoding="utf-8")
    written[1].write_text(make_markdown(frame, suite), encoding="utf-8")
    if suite == MAX_BATCH:
        _, table, rows = next(split_tables(frame, suite))
        searches = table.make_rows(rows)
        written += [folder / "max_batch.csv", folder / "max_batch.json"]
        written[2].write_text(text.format_csv(searches), encoding="utf-8")
        written[3].write_text(text.format_json_rows(searches), encoding="utf-8")
    return written


def make_markdown(frame: pd.DataFrame, suite: str | None = None) -> str:
    """Return the tables of a run as Markdown: a title, a legend, and a section for each group of cases."""
    return "\n".join(
        f"# {table.title}\n{table.legend.strip()}\n{_sections(make_grids(kind, table, rows))}"
        for kind, table, rows in split_tables(frame, suite)
    )


def make_sections(frame: pd.DataFrame) -> str:
    """Return the sections of `make_markdown`, without titles and legends."""
    return "\n".join(_sections(make_grids(kind, table, rows)) for kind, table, rows in split_tables(frame))


def make_markdown_table(lines: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    """Return cells as a Markdown table. Names are the user's: markup in one, or the border of a cell, is escaped."""
    from tabulate import tabulate

    escaped = [[text.escape_markdown(cell) for cell in line] for line in lines]
    return tabulate(escaped, headings, tablefmt="github", disable_numparse=True)


def _sections(grids: Iterator[Grid]) -> str:
    parts = []
    for grid in grids:
        title = f"\n## {text.escape_markdown_line(grid.title)}\n" if grid.title else ""
        parts.append(f"{title}\n{make_markdown_table(grid.rows, grid.headings)}\n")
        parts += [f"\n- {text.escape_markdown_line(note)}" for note in grid.notes] + (["\n"] if grid.notes else [])
    return "\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
