"""How searches for the largest batch that fits are told: a row a search, from the cases that it compiled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import LOCAL
from artifex_bench.core.record import PUBLISHED_STEPS, REAL_STEPS
from artifex_bench.core.units import there
from artifex_bench.report import text
from artifex_bench.report.frame import without_infinities
from artifex_bench.report.planned import pool_note
from artifex_bench.report.remat import SHAPE, shape_title
from artifex_bench.sweep.batch_search import ANSWERS, Point, disorder, edge

TITLE = "The largest batch that fits, and its estimated throughput"
HEADINGS = (
    *("strategy", "target", "largest batch that fits", "its peak", "smallest that does not", "and its peak"),
    *(f"estimated step ({REAL_STEPS})", "estimated throughput", "monotone", "compiled", "status"),
)
LEFT = (0, 1, 8, 10)  # the columns that hold words
PLOTS = "plot_max_batch_run"
LEGEND = f"""
The batches named were compiled, and are 1 apart (or a multiple), or 1 % where that is more; peaks are plans of the
device's own compiler · estimated step and throughput: every matrix product at the published peak or memory bandwidth,
an estimate and no measurement ({PUBLISHED_STEPS}); none with offloading, or of an attached
device · monotone: no larger batch had a lower peak than a smaller one · compiled: batches that were compiled.
"""
MODEL = tuple(axis for axis in (*SHAPE, "seed") if axis not in ("batch", "target"))  # what searches of a table share
SEARCH = (*MODEL, "target", "strategy")


def searches(table: pd.DataFrame) -> pd.DataFrame:
    """A row a search, from the table of the cases that it compiled (`load_run`).

    Its axes; `largest_batch` that fits (NaN: none does) and `failing_batch`, the smallest beyond it that does not (NaN:
    none was compiled), each with its `_peak_bytes`; `capacity_bytes` and `device_memory_bytes`; of the largest batch
    `estimated_step_seconds` and `estimated_samples_per_second`; `monotone`; `compiled`, how many batches were; `status`
    and `reason`. Sorted by target, the highest estimated throughput first.
    """
    groups = table.groupby(list(SEARCH), sort=False, dropna=False)
    found = pd.DataFrame([{**dict(zip(SEARCH, key, strict=True)), **_figures(rows)} for key, rows in groups])
    found = without_infinities(found)
    order = {"target": True, "estimated_samples_per_second": False, "largest_batch": False, "strategy": True}
    return found.sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `max_batch.csv` and `max_batch.json`, a row a search; returns their paths."""
    found = searches(table)
    (folder / "max_batch.csv").write_text(text.csv(found), encoding="utf-8")
    (folder / "max_batch.json").write_text(text.json_rows(found), encoding="utf-8")
    return [folder / "max_batch.csv", folder / "max_batch.json"]


def _figures(rows: pd.DataFrame) -> dict[str, Any]:
    compiled, fell = rows[rows.status.isin(ANSWERS)], rows[~rows.status.isin(ANSWERS)]
    points = _points(compiled)
    fits, fails = edge(points)
    step = compiled.estimated_step_seconds[compiled.batch == fits.batch].iloc[0] if fits else math.nan
    return {
        "capacity_bytes": rows.capacity_bytes.max(),
        "device_memory_bytes": rows.device_memory_bytes.max(),
        "largest_batch": fits.batch if fits else math.nan,
        "largest_peak_bytes": fits.peak if fits else math.nan,
        "failing_batch": fails.batch if fails else math.nan,
        "failing_peak_bytes": fails.peak if fails else math.nan,
        "estimated_step_seconds": step,
        "estimated_samples_per_second": fits.batch / step if fits and step else math.nan,
        "monotone": not any(disorder(points)),
        "compiled": len(compiled),
        "status": fell.status.iloc[0] if len(fell) else "ok",
        "reason": fell.reason.iloc[0] if len(fell) else "",
    }


def _points(compiled: pd.DataFrame) -> list[Point]:
    fits = (compiled.status == "ok") & (compiled.needed_peak_bytes <= compiled.capacity_bytes)
    known = compiled.needed_peak_bytes.astype(object).where(compiled.needed_peak_bytes.notna(), None)
    return [Point(int(batch), peak, bool(fit)) for batch, peak, fit in zip(compiled.batch, known, fits, strict=True)]


def cells(row: Any) -> list[str]:
    """A search in words, in the order of the headings."""
    throughput = f"{units.count(row.estimated_samples_per_second)} samples/s"
    return [
        row.strategy,
        row.target,
        units.whole(row.largest_batch) if there(row.largest_batch) else "none",
        units.size(row.largest_peak_bytes),
        units.whole(row.failing_batch),
        units.size(row.failing_peak_bytes),
        units.seconds(row.estimated_step_seconds),
        throughput if there(row.estimated_samples_per_second) else units.ABSENT,
        units.ABSENT if row.compiled < 2 else "yes" if row.monotone else "NO",
        str(row.compiled),
        row.status,
    ]


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each model and shape; notes say what was searched in, and what is amiss."""
    for title, rows in shapes(table):
        found = searches(rows)
        yield title, [cells(row) for row in found.itertuples()], [*_capacities(found), *_notes(rows, found)]


def shapes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each model and shape, with these in words."""
    for key, rows in table.groupby(list(MODEL), sort=False, dropna=False):
        yield shape_title({"batch": None, "target": LOCAL, **dict(zip(MODEL, key, strict=True))}), rows


def _capacities(found: pd.DataFrame) -> Iterator[str]:
    for target, rows in found.groupby("target"):
        capacity = rows.capacity_bytes.max()
        yield f"{target}: held against {units.size(capacity)}{pool_note(rows)}"


def _notes(rows: pd.DataFrame, found: pd.DataFrame) -> Iterator[str]:
    for row in found.itertuples():
        name = f"{row.strategy} on {row.target}"
        if row.status != "ok":
            yield f"{name}: {row.status}: {row.reason}"
        elif not there(row.largest_batch):
            excess = row.failing_peak_bytes - row.capacity_bytes
            too_much = f": {units.size(excess)} too much" if there(excess) else ""
            yield f"{name}: batch {units.whole(row.failing_batch)} does not fit{too_much}"
        elif not there(row.failing_batch):
            yield f"{name}: no larger batch was compiled: the limit was reached, or the search did not end"
        own = rows[(rows.strategy == row.strategy) & (rows.target == row.target) & rows.status.isin(ANSWERS)]
        for small, large in disorder(_points(own)):
            peaks = f"{units.size(small.peak)} and {units.size(large.peak)}"
            yield f"{name}: not monotone: the peaks of batch {small.batch} and {large.batch} are {peaks}"
