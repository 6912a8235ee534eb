"""ROOFLINES: what a device is assumed to do in a second, and from that what an equation costs. Estimates, not figures.

The roofline (Williams 2009): an operation takes as long as its arithmetic or its traffic, whichever is longer.
Elementwise operations are taken as fused with what reads them: no traffic of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from artifex_bench.measure.jaxprs import equation_flops
from artifex_bench.remat.budget.graph import Cost, Rates


@dataclass(frozen=True)
class Roofline:
    """Matrix products a second (FLOP), other arithmetic a second (FLOP), bytes a second, and where that is from."""

    dot_flops: dict[int, float]  # bytes an element -> FLOP a second
    vector_flops: float
    bytes_per_second: float
    source: str

    def rates(self) -> Rates:
        return Rates(self.cost, self.bytes_per_second)

    def cost(self, eqn: Any) -> Cost:
        """Of computing the equation once."""
        flops, name = equation_flops(eqn), eqn.primitive.name
        traffic = sum(_bytes(var.aval) for var in (*eqn.invars, *eqn.outvars)) / self.bytes_per_second
        if name in _MATRIX:
            itemsize = eqn.outvars[0].aval.dtype.itemsize
            return Cost(max(flops / self.dot_flops[min(itemsize, 4)], traffic), flops)
        if name in _SLOW:
            return Cost(_SLOW[name] * flops / self.vector_flops, flops)
        return Cost(max(flops / self.vector_flops, traffic if name.startswith(_READERS) else 0.0), flops)


_MATRIX = frozenset(["dot_general", "conv_general_dilated", "scan", "while", "cond", "custom_vjp_call"])
# polynomials and divisions: additions that take as long
_SLOW = dict.fromkeys(["exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "erf_inv"], 10.0)
_SLOW |= dict.fromkeys(["sin", "cos", "pow", "div", "sqrt", "rsqrt"], 5.0)
# what ends a fusion, and bits that must be made anew
_READERS = ("reduce_", "cum", "sort", "gather", "scatter", "transpose", "concatenate", "random_bits", "threefry")

ROOFLINES = {
    "cpu": Roofline(
        {4: 1.7e11, 2: 1.7e11, 1: 1.7e11},
        5e9,
        6e9,
        "measured once on 2 shared cores: a product of 1024 x 256 x 1024, and x + 1 of 32 MiB",
    ),
    "gpu": Roofline({4: 6.7e13, 2: 9.9e14, 1: 2e15}, 6.7e13, 3.35e12, "data sheet of the H100 SXM"),
    "tpu": Roofline({4: 4.9e13, 2: 1.97e14, 1: 3.94e14}, 4e12, 8.2e11, "data sheet of the v5e; vector rate assumed"),
}


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 0)
