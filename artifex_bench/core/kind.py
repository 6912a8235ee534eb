"""Kinds of cases: everything that suites, the command line, jobs and reports know about one kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.columns import Column
from artifex_bench.core.fields import axis_names
from artifex_bench.core.grid import expand_grid
from artifex_bench.core.record import Record
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.core.suite import Grids, Suite

if TYPE_CHECKING:
    import pandas as pd


def one_group(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all rows as one group without a title."""
    yield "", table


def group_by_axes(table: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield (values of the axes, rows) of each group of cases that share these axes."""
    for key, rows in table.groupby(list(axes), sort=False, dropna=False):
        yield dict(zip(axes, key, strict=True)), rows


def notes_on_failures(rows: pd.DataFrame) -> list[str]:
    """Return a note on each case that is not ok, with the reason."""
    failed = rows[rows.status != "ok"]
    names = case_names(failed)
    return [f"{name}: {row.status}: {row.reason}" for name, row in zip(names, failed.itertuples(), strict=True)]


def case_names(rows: pd.DataFrame) -> list[str]:
    """Return the name of each row's case among those of its group, such as "all" or "zarr3, async"."""
    if rows.empty:
        return []
    axes = load_kind(rows.kind.iloc[0]).naming_axes
    return [", ".join(map(str, values)) for values in zip(*(rows[axis] for axis in axes), strict=True)]


@dataclass(frozen=True, kw_only=True)
class Table:
    """How rows of a run are shown: in the terminal, in table.md and in the page.

    Attributes:
        name: Columns name the tables that show them.
        title: Heading of the whole table.
        legend: What its headings mean.
        group_rows: Yields (title, rows) of each group of cases that are compared.
        make_notes: Returns notes on the rows of a group: faults, capacities.
        plots: ``module:function`` of (rows, styles) that yields (name, figure) of each plot.
        describe_outcome: Returns a finished job in a few words, for progress lines.
        default_budgets: Returns the budgets of the advice that a page opens with; None: there is no advice.
        make_rows: Returns the rows that are shown, from those of the cases; by default those themselves.
        columns: Columns of rows that are not cases; by default the kind's columns that name the table.
        shape: The axes that all cases of a group share.
    """

    name: str
    title: str
    legend: str = ""
    group_rows: Callable[[Any], Iterator[tuple[str, Any]]] = one_group
    make_notes: Callable[[Any], Sequence[str]] = notes_on_failures
    plots: str = ""
    describe_outcome: Callable[[Record], str] = lambda record: record.status
    default_budgets: Callable[[Any], dict[str, float] | None] = lambda table: None
    make_rows: Callable[[Any], Any] = lambda rows: rows
    columns: tuple[Column, ...] = ()
    shape: tuple[str, ...] = ()


def expand_grids(kind: Kind, grids: Grids, given: Mapping[str, Any]) -> tuple[Case, ...]:
    """Return the cases of a preset's grids, checked, where the user's axes replace those of the grids."""
    cases = dict.fromkeys(case for one in grids for case in expand_grid(kind.case_type, **{**one, **given}))
    for case in cases:
        kind.check_case(case)
    return tuple(cases)


@dataclass(frozen=True)
class Kind:
    """One kind of case.

    Attributes:
        case_type: The struct of its cases. Options of the command line come from its fields.
        suites: Name -> suite.
        measure: ``module:function`` that yields the measurements of a job, in the worker.
        columns: All columns, in order.
        tables: How its rows are shown.
        choose_table: Returns the name of the table that shows a case, or a row; None: the only table.
        expand: Returns the checked cases of a preset's grids and the user's axes.
        check_case: Raises CaseError for a case that cannot be measured here.
        judge: Returns a record with what follows from comparing it with its baseline's.
        add_columns: Returns the DataFrame with columns that need several rows, such as a Pareto front.
        example: Options of the example in the help of `run`.
    """

    case_type: type[Case]
    suites: Mapping[str, Suite]
    measure: str
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    choose_table: Callable[[Any], str] | None = None
    expand: Callable[[Kind, Grids, Mapping[str, Any]], tuple[Case, ...]] = expand_grids
    check_case: Callable[[Any], None] = lambda case: None
    judge: Callable[[Record, Record | None], Record] = lambda record, baseline: record
    add_columns: Callable[[Any], Any] = lambda table: table
    example: str = ""

    @property
    def name(self) -> str:
        """The name of the kind, as records hold it."""
        return self.case_type.kind

    @property
    def naming_axes(self) -> tuple[str, ...]:
        """The axes that name a case among those of its group."""
        return tuple(axis for axis in self.case_type.leading if axis not in self.tables[0].shape)

    def table_of(self, case: Any) -> Table:
        """Return the table that shows a case, or a row of the DataFrame."""
        name = self.choose_table(case) if self.choose_table else self.tables[0].name
        return next(table for table in self.tables if table.name == name)

    def columns_of(self, table: Table) -> tuple[Column, ...]:
        """Return the columns that a table shows, in order."""
        columns = table.columns or self.columns
        return tuple(column for column in columns if column.heading and table.name in column.tables)


def all_suites() -> dict[str, tuple[Kind, Suite]]:
    """Return {name: (its kind, the suite)} of every suite."""
    kinds = map(load_kind, KINDS)
    return {name: (kind, suite) for kind in kinds for name, suite in kind.suites.items()}


def check_axes(kind: Kind, suite: str, given: Mapping[str, Any]) -> None:
    """Raise CaseError if the user set an axis that cases of the kind do not have."""
    for axis in given:
        if axis not in axis_names(kind.case_type):
            raise CaseError(f"suite {suite!r} has no axis {axis!r}: it has {', '.join(axis_names(kind.case_type))}")
