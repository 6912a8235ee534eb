"""The estimated step: the least time of a program on a device, by the roofline of its matrix products.

Source: Williams, Waterman & Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from artifex_bench.compat import TracedProgram
from artifex_bench.remat.measure.jaxprs import find_products


@dataclass(frozen=True)
class Estimate:
    """An estimated step.

    Attributes:
        seconds: Least seconds of a step.
        flops: FLOPs of its products.
        bytes: Bytes that its products and the update move.
    """

    seconds: float
    flops: float
    bytes: float


def estimate_step(
    gradient: TracedProgram, updated: int, peak_flops: Mapping[str, float], bandwidth: float
) -> Estimate | str:
    """Estimate the seconds of a step.

    Every matrix product takes its FLOPs at the peak for its dtype, or the bytes of its operands and its result at the
    memory's bandwidth, whichever takes longer. Everything else is assumed to be fused into the products, except the
    update. Real steps take longer, because no kernel reaches the peaks.

    Args:
        gradient: The traced forward and backward pass.
        updated: Bytes that the optimizer's update moves.
        peak_flops: FLOP/s of matrix products, by the dtype of their operands.
        bandwidth: Memory bandwidth in bytes per second.

    Returns:
        The estimate, or why there is none: no peak is published for the dtype of a product.
    """
    seconds, flops, moved = updated / bandwidth, 0.0, float(updated)
    for product in find_products(gradient):
        peak = peak_flops.get(product.dtype)
        if peak is None:
            return f"no peak rate of {product.dtype} products is known of this target, only of {', '.join(peak_flops)}"
        seconds += product.times * max(product.flops / peak, product.bytes / bandwidth)
        flops += product.times * product.flops
        moved += product.times * product.bytes
    return Estimate(seconds, flops, moved)
