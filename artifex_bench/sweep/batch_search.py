"""The largest batch that fits: which one to compile next, and what those that were compiled prove. Pure; no JAX.

A compiled peak grows nearly in a line with the batch, so that a line through two of them comes near the edge in a few
compilations. Only compilations prove it, though, and where lines mislead the search ends as a bisection.
"""

from __future__ import annotations

from collections.abc import Sequence

from artifex_bench.core.batch_edge import ANSWERS, Point, find_edge
from artifex_bench.core.case import Case, RematCase, replace_fields
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import Search

FINE = 100  # the edge is found to one multiple, or to one part in so many of the batch where that is coarser
GROWTH = 4  # where there is no line to follow, the next batch as a multiple of the largest that fits
FARTHEST = 16  # and at most, where there is one
GUESSES = 8  # compilations that lines may ask for, before the search bisects


def choose_next_batch(points: Sequence[Point], capacity: float | None, search: Search) -> int | None:
    """The batch to compile next; None where the edge is found, or the limit fits. `capacity` is in bytes.

    The edge is found when the largest that fits and the smallest that does not are no more than `resolution` apart.
    """
    if not points:
        return search.multiple
    fits, fails = find_edge(points)
    top = search.limit - search.limit % search.multiple
    if fits is None or fits.batch >= top:
        return None
    step = resolution(fits.batch, search.multiple)
    least = fits.batch + step
    if fails is not None and fails.batch <= least:
        return None
    most = min(fits.batch * FARTHEST, top) if fails is None else fails.batch - step
    guess = _on_a_line(points, fits, fails, capacity) if fails is None or len(points) < GUESSES else None
    if guess is None:
        guess = fits.batch * GROWTH if fails is None else (fits.batch + fails.batch) / 2
    return min(max(int(guess) // search.multiple * search.multiple, least), max(most, least), top)


def resolution(batch: int, multiple: int) -> int:
    """How far beyond a batch that fits the one may be that does not: one multiple, or 1 % where that is more."""
    return max(multiple, batch // FINE // multiple * multiple)


def _on_a_line(points: Sequence[Point], fits: Point, fails: Point | None, capacity: float | None) -> float | None:
    """Where the line through the two points nearest to the edge meets the capacity; None where there is none."""
    before = max((p for p in points if p.fits and p.batch < fits.batch), key=lambda p: p.batch, default=None)
    other = fails if fails is not None and fails.peak is not None else before
    if other is None or other.peak is None or fits.peak is None or capacity is None:
        return None
    slope = (other.peak - fits.peak) / (other.batch - fits.batch)
    return fits.batch + (capacity - fits.peak) / slope if slope > 0 else None


def next_case(start: Case, records: Sequence[Record], search: Search) -> Case | None:
    """The next case of the search that begins with `start`; None where it has ended: where a case fell, too."""
    assert isinstance(start, RematCase)
    own = [record for record in records if _beginning(record.case, start.batch) == start]
    if any(record.status not in ANSWERS for record in own):
        return None
    capacity = own[0].value("capacity_bytes") if own else None
    batch = choose_next_batch([make_point(record) for record in own], capacity, search)
    return None if batch is None else replace_fields(start, batch=batch)


def _beginning(case: Case, batch: int) -> Case:
    return replace_fields(case, batch=batch) if isinstance(case, RematCase) else case


def apply_memory_budget(record: Record, memory_budget: int | None) -> Record:
    """The record with `memory_budget` (bytes) for its capacity, unless its target has less."""
    if memory_budget is None or (record.value("capacity_bytes") or memory_budget) < memory_budget:
        return record
    budget = Measurement("capacity_bytes", "bytes", (memory_budget,), "the memory budget that was asked for")
    replaced = (budget.probe, "device_memory_bytes")  # of which the capacity is no share any more
    return replace_fields(record, measurements=(*(m for m in record.measurements if m.probe not in replaced), budget))


def make_point(record: Record) -> Point:
    """What the record of a case that was compiled says of its batch."""
    assert isinstance(record.case, RematCase)
    peak, capacity = record.needed_peak, record.value("capacity_bytes")
    fits = record.status == "ok" and peak is not None and capacity is not None and peak <= capacity
    return Point(record.case.batch, peak, fits)
