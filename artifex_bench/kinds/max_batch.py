"""Searches for the largest batch that fits: one row per search, from the cases that it compiled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from artifex_bench.core import units
from artifex_bench.core.batch_edge import ANSWERS, Point, find_disorder, find_edge
from artifex_bench.core.case import LOCAL
from artifex_bench.core.columns import Column
from artifex_bench.core.kind import Table, group_by_axes
from artifex_bench.core.record import PUBLISHED_STEPS, REAL_STEPS
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import SHAPE, describe_shape, note_on_pool

if TYPE_CHECKING:
    import pandas as pd

TABLE = "max-batch"
MODEL = tuple(axis for axis in (*SHAPE, "seed") if axis not in ("batch", "target"))  # shared by a table's searches
SEARCH = (*MODEL, "target", "strategy")


@dataclass(frozen=True)
class SearchResult:
    """The cases that one search compiled, as rows of the DataFrame."""

    rows: pd.DataFrame

    @cached_property
    def answered(self) -> pd.DataFrame:
        """The rows that say whether their batch fits."""
        return self.rows[self.rows.status.isin(ANSWERS)]

    @cached_property
    def points(self) -> list[Point]:
        """The compiled batches."""
        rows = self.answered
        fits = (rows.status == "ok") & (rows.needed_peak_bytes <= rows.capacity_bytes)
        peaks = rows.needed_peak_bytes.astype(object).where(rows.needed_peak_bytes.notna(), None)
        return [Point(int(batch), peak, bool(fit)) for batch, peak, fit in zip(rows.batch, peaks, fits, strict=True)]

    @cached_property
    def edge(self) -> tuple[Point | None, Point | None]:
        """The largest batch that fits, and the smallest beyond it that does not."""
        return find_edge(self.points)

    @property
    def estimated_step(self) -> float:
        """Estimated seconds per step of the largest batch that fits; NaN if there is none."""
        fits, _ = self.edge
        rows = self.answered
        return rows.estimated_step_seconds[rows.batch == fits.batch].iloc[0] if fits else math.nan

    @property
    def throughput(self) -> float:
        """Estimated samples per second of the largest batch that fits; NaN if there is none."""
        fits, _ = self.edge
        return fits.batch / self.estimated_step if fits and self.estimated_step else math.nan

    def failure(self, column: str) -> str:
        """Return a column of the first case that gave no answer; empty if all did."""
        failed = self.rows[~self.rows.status.isin(ANSWERS)]
        return str(failed[column].iloc[0]) if len(failed) else ""


def _edge(fits: bool, field: str) -> Any:
    def read(search: SearchResult) -> Any:
        point = search.edge[0 if fits else 1]
        return getattr(point, field) if point else math.nan

    return read


def _shown(name: str, heading: str, **fields: Any) -> Column:
    return Column(name, heading=heading, tables=(TABLE,), **fields)


def _show_monotone(row: Any) -> str:
    return units.ABSENT if row.compiled < 2 else "yes" if row.monotone else "NO"


def _show_throughput(row: Any) -> str:
    value = row.estimated_samples_per_second
    return f"{units.format_count(value)} samples/s" if is_present(value) else units.ABSENT


COLUMNS = (
    _shown("strategy", "strategy", priority=0),
    _shown("target", "target", priority=0),
    _shown(
        "largest_batch",
        "largest batch that fits",
        doc="The largest compiled batch that fits; NaN if none does.",
        value=_edge(True, "batch"),
        unit="count",
        text=lambda row: units.format_whole(row.largest_batch) if is_present(row.largest_batch) else "none",
    ),
    _shown(
        "largest_peak_bytes", "its peak", doc="Its compiled peak.", value=_edge(True, "peak"), unit="bytes", priority=2
    ),
    _shown(
        "failing_batch",
        "smallest that does not",
        doc="The smallest compiled batch beyond it that does not fit; NaN if none was compiled.",
        value=_edge(False, "batch"),
        unit="count",
    ),
    _shown(
        "failing_peak_bytes",
        "and its peak",
        doc="The compiled peak of that batch.",
        value=_edge(False, "peak"),
        unit="bytes",
        priority=2,
    ),
    _shown(
        "estimated_step_seconds",
        f"estimated step ({REAL_STEPS})",
        doc="Estimated step of the largest batch, by a roofline; never a measurement.",
        value=lambda search: search.estimated_step,
        unit="seconds",
    ),
    _shown(
        "estimated_samples_per_second",
        "estimated throughput",
        doc="Samples per second by that estimate.",
        value=lambda search: search.throughput,
        unit="count",
        text=_show_throughput,
    ),
    _shown(
        "monotone",
        "monotone",
        doc="Whether no larger batch had a lower peak than a smaller one.",
        value=lambda search: not any(find_disorder(search.points)),
        text=_show_monotone,
        priority=3,
    ),
    _shown(
        "compiled",
        "compiled",
        doc="Number of batches that were compiled.",
        value=lambda search: len(search.answered),
        unit="count",
        priority=3,
    ),
    _shown(
        "status",
        "status",
        doc="`ok`, or the status of a case that gave no answer.",
        value=lambda search: search.failure("status") or "ok",
    ),
    Column("reason", "Why the search is not ok.", lambda search: search.failure("reason")),  # type: ignore[attr-defined]
    Column(
        "capacity_bytes",
        "Bytes that one program gets, or the memory budget.",
        lambda search: search.rows.capacity_bytes.max(),  # type: ignore[attr-defined]
        "bytes",
    ),
    Column(
        "device_memory_bytes",
        "Memory of the device.",
        lambda search: search.rows.device_memory_bytes.max(),  # type: ignore[attr-defined]
        "bytes",
    ),
)


def tabulate_searches(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per search, from the rows of the cases that it compiled (`load_run`).

    Rows are sorted by target, the highest estimated throughput first.
    """
    import pandas as pd

    from artifex_bench.kinds.frames import without_infinities

    found = []
    for key, rows in table.groupby(list(SEARCH), sort=False, dropna=False):
        search: Any = SearchResult(rows)
        figures = {column.name: column.value(search) for column in COLUMNS if column.value}
        found.append({**dict(zip(SEARCH, key, strict=True)), **figures})
    searches = without_infinities(pd.DataFrame(found))
    order = {"target": True, "estimated_samples_per_second": False, "largest_batch": False, "strategy": True}
    return searches.sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def group_by_model(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, rows) of each model and shape without its batch."""
    for shape, rows in group_by_axes(table, MODEL):
        yield describe_shape({"batch": None, "target": LOCAL, **shape}), rows


def notes_on_searches(rows: pd.DataFrame) -> list[str]:
    """Return notes on the cases of a group of searches: capacities, failures, peaks that are not monotone."""
    searches = tabulate_searches(rows)
    notes = []
    for target, own in searches.groupby("target"):
        notes.append(f"{target}: compared with {units.format_bytes(own.capacity_bytes.max())}{note_on_pool(own)}")
    for row in searches.itertuples():
        compiled = rows[(rows.strategy == row.strategy) & (rows.target == row.target)]
        notes += [f"{row.strategy} on {row.target}: {note}" for note in _notes_on_search(row, SearchResult(compiled))]
    return notes


def _notes_on_search(row: Any, search: SearchResult) -> Iterator[str]:
    if row.status != "ok":
        yield f"{row.status}: {row.reason}"
    elif not is_present(row.largest_batch):
        known = is_present(row.failing_peak_bytes) and is_present(row.capacity_bytes)
        over = f": {units.format_bytes(row.failing_peak_bytes - row.capacity_bytes)} over" if known else ""
        yield f"batch {units.format_whole(row.failing_batch)} does not fit{over}"
    elif not is_present(row.failing_batch):
        yield "no larger batch was compiled: the limit was reached, or the search did not end"
    for small, large in find_disorder(search.points):
        peaks = f"{units.format_bytes(small.peak)} and {units.format_bytes(large.peak)}"
        yield f"not monotone: the peaks of batch {small.batch} and {large.batch} are {peaks}"


MAX_BATCH_TABLE = Table(
    name=TABLE,
    title="The largest batch that fits, and its estimated throughput",
    legend=f"""
Both batches were compiled. They are 1 apart (or --multiple-of), or 1 % if that is more. Peaks are plans of the
device's own compiler · estimated step and throughput: every matrix product at the published peak or memory bandwidth,
an estimate and no measurement ({PUBLISHED_STEPS}); none with offloading, or on the local device · monotone: no larger
batch had a lower peak than a smaller one · compiled: number of compiled batches.
""",
    group_rows=group_by_model,
    make_notes=notes_on_searches,
    plots="artifex_bench.report.plots.runs:plot_max_batch_run",
    make_rows=tabulate_searches,
    columns=COLUMNS,
)
