"""The roofline (Williams, Waterman & Patterson 2009): the least time of a program on a device, from its jaxpr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.remat.measure.jaxprs import products


@dataclass(frozen=True)
class Estimate:
    """Seconds of a step, and the FLOPs of its products and the bytes moved that they come from."""

    seconds: float
    flops: float
    bytes: float


def estimate(gradient: Any, updated: int, peak_flops: Mapping[str, float], bandwidth: float) -> Estimate | str:
    """An estimate of a step's seconds, or why there is none: a product of a dtype whose peak is not published.

    Every matrix product of the jaxpr takes its FLOPs at the peak for its dtype, or the bytes of its operands and its
    result at the memory's bandwidth, whichever takes longer. All else is taken as fused into the products, but for
    the update, which moves `updated` bytes. Real steps take longer: no kernel reaches the peaks.
    """
    seconds, flops, moved = updated / bandwidth, 0.0, float(updated)
    for one in products(gradient):
        peak = peak_flops.get(one.dtype)
        if peak is None:
            return f"no peak rate of {one.dtype} products is known of this target, only of {', '.join(peak_flops)}"
        seconds += one.times * max(one.flops / peak, one.bytes / bandwidth)
        flops += one.times * one.flops
        moved += one.times * one.bytes
    return Estimate(seconds, flops, moved)
