"""VIEWS: kind of case -> the module that tells its runs.

Such a module has `rows(by_case)` for the table of all columns; TITLE, HEADINGS, LEFT (the columns of words), LEGEND and
`grouped(table)` -> (title, lines of cells, notes) for the table that decides, `shapes(table)` -> (title, rows) for the
same groups; `outcome(record)` for progress lines; and PLOTS, the module whose `draw(table)` yields (name, figure).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

VIEWS = {
    "remat": "artifex_bench.report.remat",
    "checkpoint": "artifex_bench.report.checkpoint",
    "fault": "artifex_bench.report.fault",
}


def view(kind: str) -> Any:
    """The module of that kind of case."""
    return import_module(VIEWS[kind])


def view_of(table: Any) -> Any:
    """The module for a table: a run holds one kind of case."""
    return view(table.kind.iloc[0])
