"""Comparisons as text: the only place where their data become words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.columns import FORMATS
from artifex_bench.core.record import Record
from artifex_bench.core.units import is_present
from artifex_bench.report.comparison import find_environment_differences, find_unshared_cases
from artifex_bench.report.comparison_data import Change, Reason
from artifex_bench.report.tables import make_markdown_table

HEADINGS = ("case", "quantity", "base", "new", "ratio", "95 %", "change", "reason")
LEFT_ALIGNED = (0, 1, 6, 7)
REASONS = {
    Reason.EXACT: "exact",
    Reason.CONTENDED: "contended: other processes used the CPU",
    Reason.TOO_FEW_ROUNDS: "too few rounds",
    Reason.SIGNIFICANT: "significant",
    Reason.NOT_SIGNIFICANT: "not significant",
    Reason.MEDIANS_ONLY: "only the medians differ",
}


def format_row(row: Any) -> list[str]:
    """Return the cells of a row of a comparison, in the order of `HEADINGS`."""
    show = {**FORMATS, "count": "{:.3g}".format, "": units.format_text}[row.unit]
    ratio = units.format_ratio(row.ratio) if is_present(row.ratio) else units.ABSENT
    interval = units.format_interval(row.ratio_low, row.ratio_high)
    return [row.label, row.quantity, show(row.base), show(row.new), ratio, interval, row.change, describe_reason(row)]


def describe_reason(row: Any) -> str:
    """Return what the change of a row rests on, with its numbers."""
    if row.reason == Reason.STATUS:
        pairs = ((row.base_status, row.base_message), (row.new_status, row.new_message))
        return " -> ".join(": ".join(filter(None, pair)) for pair in pairs)
    if row.reason == Reason.WITHIN_THRESHOLD:
        return f"within {100 * row.threshold:.3g}%"
    text = REASONS[Reason(row.reason)]
    if row.reason not in (Reason.SIGNIFICANT, Reason.NOT_SIGNIFICANT, Reason.MEDIANS_ONLY):
        return text
    least = f"least values {units.format_ratio(row.least_ratio)}, " if is_present(row.least_ratio) else ""
    return f"{text}: {least}p {row.p:.2g} over {row.tests:.0f} tests"


def describe_differences(base: Sequence[Record], new: Sequence[Record]) -> list[str]:
    """Return what sets two runs apart: their environments, and the cases that only one of them has."""
    notes = [
        f"the runs differ in {name}: {one} and {other}"
        for name, (one, other) in find_environment_differences(base, new).items()
    ]
    unshared = find_unshared_cases(base, new)
    return notes + [f"not compared, only in {run}: {'; '.join(labels)}" for run, labels in unshared.items() if labels]


def summarize_changes(table: pd.DataFrame) -> str:
    """Return how many rows a comparison has, by change."""
    counts = table.change.value_counts()
    return f"{len(table)} compared: " + ", ".join(f"{counts[change]} {change}" for change in Change if change in counts)


def make_comparison_table(table: pd.DataFrame) -> str:
    """Return the rows of a comparison as a Markdown table."""
    return make_markdown_table([format_row(row) for row in table.itertuples()], HEADINGS)
