"""VIEWS: kind of case -> the module that tells its runs.

Such a module has `rows(by_case)` for the table of all columns; TITLE, HEADINGS, LEFT (the columns of words), LEGEND and
`grouped(table)` -> (title, lines of cells, notes) for the table that decides, `shapes(table)` -> (title, rows) for the
same groups; `outcome(record)` for progress lines; `usual(table)`, the budgets of the advice that a page opens with
unless others are given (None: there is none); and PLOTS, the function of `report.plots.runs` that plots them.
Cases compiled for a device that is not there are rows of the same table as those that ran, and are told apart; those of
a suite in SUITES are told by that suite's own module, all together.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from artifex_bench.core.case import LOCAL, Case, runs

VIEWS = {
    "remat": "artifex_bench.report.remat",
    "planned": "artifex_bench.report.planned",
    "checkpoint": "artifex_bench.report.checkpoint",
    "fault": "artifex_bench.report.fault",
}
SUITES = {"max-batch": "artifex_bench.report.max_batch"}


def view(kind: str) -> Any:
    """The module of that kind of case."""
    return import_module(VIEWS[kind])


def view_of_case(case: Case) -> Any:
    """The module that tells a case."""
    return view(case.kind if runs(case) else "planned")


def parts(table: Any, suite: str | None = None) -> Iterator[tuple[Any, Any]]:
    """(module, rows) of a run's table: a run holds one kind of case, what ran comes before what did not."""
    if suite in SUITES:
        yield import_module(SUITES[suite]), table
        return
    kind = table.kind.iloc[0]
    if "target" not in table:
        yield view(kind), table
        return
    ran = table.target == LOCAL
    for name, rows in ((kind, table[ran]), ("planned", table[~ran])):
        if len(rows):
            yield view(name), rows


def view_of(table: Any) -> Any:
    """The module for a table of which all rows are told alike."""
    return next(parts(table))[0]
