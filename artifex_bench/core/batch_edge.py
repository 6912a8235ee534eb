"""The largest batch that fits and the smallest that does not, among compiled batches. Pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ANSWERS = ("ok", "oom")  # oom: the compiler refused the program for its memory


@dataclass(frozen=True)
class Point:
    """A compiled batch. `peak` is in bytes, or None if it is only known to be too large."""

    batch: int
    peak: float | None
    fits: bool


def find_edge(points: Sequence[Point]) -> tuple[Point | None, Point | None]:
    """Return (the largest that fits, the smallest beyond it that does not), None where there is none."""
    fits = max((p for p in points if p.fits), key=lambda p: p.batch, default=None)
    beyond = (p for p in points if not p.fits and (fits is None or p.batch > fits.batch))
    return fits, min(beyond, key=lambda p: p.batch, default=None)


def find_disorder(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Yield neighbours (smaller batch, larger batch) of which the larger has the lower peak, or alone fits."""
    ordered = sorted(points, key=lambda p: p.batch)
    for small, large in itertools.pairwise(ordered):
        lower = small.peak is not None and large.peak is not None and large.peak < small.peak
        if lower or (large.fits and not small.fits):
            yield small, large
