"""The page's table of cases: what each cell says, and the raw value that it is sorted by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from artifex_bench.core import units
from artifex_bench.core.columns import Column
from artifex_bench.core.fields import axis_names
from artifex_bench.core.kind import Kind, case_names
from artifex_bench.report.html.charts import setting_words
from artifex_bench.report.tables import Grid

MOST_VALUES = 40  # of a column that has a filter of its own


@dataclass(frozen=True)
class Cell:
    """A cell of the page's table.

    Attributes:
        words: What it says.
        number: Whether its column holds numbers.
        order: The raw value of a number, to sort by; empty where there is none.
        setting: Whether it is the setting of an axis.
        frozen: Whether its column stays in view when the table scrolls sideways.
        drawing: What is drawn beside the words.
    """

    words: str
    number: bool
    order: str = ""
    frozen: bool = False
    setting: bool = False
    drawing: Markup = field(default=Markup())


@dataclass(frozen=True)
class Facet:
    """A filter by the values of one column; `column` is its place in the table."""

    column: int
    heading: str
    values: list[str]


@dataclass(frozen=True)
class Line:
    """A case in the page's table; `case` is the index of its row in the run's table."""

    case: int
    shape: str
    name: str
    status: str
    cells: list[Cell]


def find_varying_axes(frame: pd.DataFrame, kind: Kind, grids: Sequence[Grid]) -> list[str]:
    """Return the axes that tell groups apart: they vary over the run, and do not vary within any group."""
    return [
        axis
        for axis in axis_names(kind.case_type)
        if all(axis in grid.frame for grid in grids)
        and frame[axis].nunique(dropna=axis != "mesh") > 1
        and all(grid.frame[axis].nunique(dropna=False) == 1 for grid in grids)
    ]


def make_facets(lines: Sequence[Line], headings: Sequence[str]) -> list[Facet]:
    """Return a filter for each column of the settings and names of cases, and of their status."""
    facets = []
    for column, heading in enumerate(headings):
        # a star marks the Pareto front
        values = list(dict.fromkeys(line.cells[column].words.removesuffix(" *") for line in lines))
        short = not lines[0].cells[column].number or lines[0].cells[column].setting
        if short and 1 < len(values) <= MOST_VALUES:
            facets.append(Facet(column, heading, values))
    return facets


def make_lines(grids: Sequence[Grid], setting_axes: Sequence[str], frozen: str) -> Iterator[Line]:
    """Yield a line for each case: the cell of column `frozen`, the settings of the axes, then all other columns."""
    for grid in grids:
        names = case_names(grid.frame)
        for name, row, words in zip(names, grid.frame.itertuples(), grid.rows, strict=True):
            settings = [_make_setting_cell(axis, getattr(row, axis)) for axis in setting_axes]
            figures = [_make_cell(column, row, cell, frozen) for column, cell in zip(grid.columns, words, strict=True)]
            figures.sort(key=lambda cell: not cell.frozen)
            yield Line(int(row.Index), grid.title, name, row.status, [*figures[:1], *settings, *figures[1:]])


def _make_setting_cell(axis: str, value: Any) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    order = f"{value:.6g}" if is_number and units.is_present(value) else ""
    return Cell(setting_words(axis, value), is_number, order, setting=True)


def _make_cell(column: Column, row: Any, words: str, frozen: str) -> Cell:
    if column.is_text:
        return Cell(words, False, frozen=column.name == frozen)
    key = column.sort_key(row)
    return Cell(words, True, "" if key is None else f"{key:.6g}")
