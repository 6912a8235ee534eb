"""The search for the largest batch that fits: which batch to compile next. Pure functions; no JAX.

A compiled peak grows almost linearly with the batch. Linear interpolation therefore finds the edge in a few
compilations. Only compiled batches count as proof, and if interpolation misleads, the search bisects.
"""

from __future__ import annotations

from collections.abc import Sequence

from artifex_bench.core.batch_edge import ANSWERS, Point, find_edge
from artifex_bench.core.case import Case, RematCase, replace_fields
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import Search

FINE = 100  # the edge is accurate to one multiple, or to 1/FINE of the batch if that is coarser
GROWTH = 4  # without interpolation, the next batch is this multiple of the largest that fits
FARTHEST = 16  # with extrapolation it is at most this multiple
GUESSES = 8  # compilations by interpolation before the search bisects


def choose_next_batch(points: Sequence[Point], capacity: float | None, search: Search) -> int | None:
    """Return the batch to compile next; None if the edge is known, or if the limit fits.

    The edge is known if the largest batch that fits and the smallest that does not are at most `compute_resolution`
    apart.

    Args:
        points: The compiled batches.
        capacity: Bytes that a program may use; None if not known.
        search: Multiple and limit of the batch.
    """
    if not points:
        return search.multiple
    fits, fails = find_edge(points)
    top = search.limit - search.limit % search.multiple
    if fits is None or fits.batch >= top:
        return None
    step = compute_resolution(fits.batch, search.multiple)
    least = fits.batch + step
    if fails is not None and fails.batch <= least:
        return None
    most = min(fits.batch * FARTHEST, top) if fails is None else fails.batch - step
    guess = _interpolate(points, fits, fails, capacity) if fails is None or len(points) < GUESSES else None
    if guess is None:
        guess = fits.batch * GROWTH if fails is None else (fits.batch + fails.batch) / 2
    return min(max(int(guess) // search.multiple * search.multiple, least), max(most, least), top)


def compute_resolution(batch: int, multiple: int) -> int:
    """Return how far apart a batch that fits and one that does not may be: one multiple, or 1 % if that is more."""
    return max(multiple, batch // FINE // multiple * multiple)


def _interpolate(points: Sequence[Point], fits: Point, fails: Point | None, capacity: float | None) -> float | None:
    """Return the batch whose peak is the capacity, on the line through the two points nearest to the edge, or None."""
    before = max((p for p in points if p.fits and p.batch < fits.batch), key=lambda p: p.batch, default=None)
    other = fails if fails is not None and fails.peak is not None else before
    if other is None or other.peak is None or fits.peak is None or capacity is None:
        return None
    slope = (other.peak - fits.peak) / (other.batch - fits.batch)
    return fits.batch + (capacity - fits.peak) / slope if slope > 0 else None


def next_case(start: Case, records: Sequence[Record], search: Search) -> Case | None:
    """Return the next case of the search that begins with `start`; None if it has ended or one of its cases failed."""
    assert isinstance(start, RematCase)
    own = [record for record in records if _start_of_search(record.case, start.batch) == start]
    if any(record.status not in ANSWERS for record in own):
        return None
    capacity = own[0].value("capacity_bytes") if own else None
    batch = choose_next_batch([make_point(record) for record in own], capacity, search)
    return None if batch is None else replace_fields(start, batch=batch)


def _start_of_search(case: Case, batch: int) -> Case:
    return replace_fields(case, batch=batch) if isinstance(case, RematCase) else case


def apply_memory_budget(record: Record, memory_budget: int | None) -> Record:
    """Return the record with `memory_budget` (bytes) as its capacity, unless its target has less."""
    if memory_budget is None or (record.value("capacity_bytes") or memory_budget) < memory_budget:
        return record
    budget = Measurement("capacity_bytes", "bytes", (memory_budget,), "the memory budget that was asked for")
    replaced = (budget.probe, "device_memory_bytes")  # the budget is no share of the device's memory
    return replace_fields(record, measurements=(*(m for m in record.measurements if m.probe not in replaced), budget))


def make_point(record: Record) -> Point:
    """Return the compiled batch of a record: its peak, and whether it fits."""
    assert isinstance(record.case, RematCase)
    peak, capacity = record.needed_peak, record.value("capacity_bytes")
    fits = record.status == "ok" and peak is not None and capacity is not None and peak <= capacity
    return Point(record.case.batch, peak, fits)
