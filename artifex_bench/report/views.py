"""Views: the tables of a run with their rows, as plots and the page read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.kind import Kind, Table
from artifex_bench.report.tables import make_grids, split_tables


@dataclass(frozen=True)
class View:
    """A table of a kind of case."""

    kind: Kind
    table: Table

    @property
    def TITLE(self) -> str:
        """The table's title."""
        return self.table.title

    @property
    def LEGEND(self) -> str:
        """The table's legend."""
        return self.table.legend

    @property
    def PLOTS(self) -> str:
        """The module of its plots."""
        return self.table.plots

    @property
    def HEADINGS(self) -> tuple[str, ...]:
        """The headings of its columns."""
        return tuple(column.heading for column in self.kind.columns_of(self.table))

    @property
    def LEFT(self) -> tuple[int, ...]:
        """The numbers of the columns of words."""
        return tuple(i for i, column in enumerate(self.kind.columns_of(self.table)) if column.is_text)

    @property
    def SHAPE(self) -> tuple[str, ...]:
        """The axes that make a group."""
        return self.table.shape

    def shapes(self, rows: Any) -> Iterator[tuple[str, Any]]:
        """Yield (title, rows) of each group."""
        return self.table.group_rows(rows)

    def grouped(self, rows: Any) -> Iterator[tuple[str, list[list[str]], list[str]]]:
        """Yield (title, rows of cells, notes) of each group."""
        for grid in make_grids(self.kind, self.table, rows):
            yield grid.title, grid.rows, grid.notes


def parts(table: Any, suite: str | None = None) -> Iterator[tuple[View, Any]]:
    """Yield (view, rows) of each table of a run."""
    for kind, one, rows in split_tables(table, suite):
        yield View(kind, one), rows


def view_of(table: Any) -> View:
    """Return the view of a table whose rows are all shown in one."""
    return next(parts(table))[0]
