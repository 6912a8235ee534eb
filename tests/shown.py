"""The tables of a kind of case, as tests read them."""

from __future__ import annotations

from artifex_bench.core.registry import load_kind
from artifex_bench.report.tables import make_grids


class Shown:
    def __init__(self, kind, table):
        self.kind = load_kind(kind)
        self.table = next(one for one in self.kind.tables if one.name == table)
        self.columns = self.kind.columns_of(self.table)
        self.HEADINGS = tuple(column.heading for column in self.columns)
        self.LEGEND, self.TITLE = self.table.legend, self.table.title

    def cells(self, row, *_):
        return [column.show(row) for column in self.columns]

    def grouped(self, rows):
        for grid in make_grids(self.kind, self.table, rows):
            yield grid.title, grid.rows, grid.notes

    def outcome(self, record):
        return self.table.describe_outcome(record)

    def usual(self, rows):
        return self.table.default_budgets(rows)


remat, planned = Shown("remat", "local"), Shown("remat", "aot")
max_batch = Shown("remat", "max-batch")
checkpoint, fault = Shown("checkpoint", "checkpoint"), Shown("fault", "fault")
