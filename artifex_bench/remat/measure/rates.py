"""What a device is assumed to do in a second, and from that what an equation costs. Estimates, not figures.

The roofline (Williams 2009): an operation takes as long as its arithmetic or its traffic, whichever is longer.
Elementwise operations are taken as fused with what reads them: no traffic of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.remat.measure.jaxprs import equation_flops
from artifex_bench.remat.planner.graph import Cost, Rates
from artifex_bench.targets import Description, load_description


@dataclass(frozen=True)
class Roofline:
    """Matrix products (FLOP a second, by dtype of the operands), other arithmetic (FLOP a second), `special` functions
    (exp, tanh, … a second), bytes a second, and where that is from. `cached`: what is not saved stays in a cache.
    `to_host`: bytes a second to the host's memory, or from it at the same time (0: not known, or there is none apart).
    """

    dot_flops: Mapping[str, float]
    vector_flops: float
    special: float
    bytes_per_second: float
    source: str
    cached: bool = False
    to_host: float = 0.0

    def rates(self) -> Rates:
        return Rates(self.cost, self.saving, fusible, self.offloading, self.to_host, self.unknown_dtype)

    def unknown_dtype(self, eqn: Any) -> str | None:
        """The dtype of a product whose rate is not known, which the slowest known rate stands for; else None."""
        return None if eqn.primitive.name not in _PRODUCTS or self._dtype(eqn) in self.dot_flops else self._dtype(eqn)

    def saving(self, eqn: Any, size: float) -> float:
        """Seconds to save so many bytes of what the equation gives: to write and to read them.

        A product's result goes to memory and back in any case, saved or computed again, but for what a cache holds.
        """
        return 0.0 if eqn.primitive.name in _MATRIX and not self.cached else 2 * size / self.bytes_per_second

    def offloading(self, eqn: Any, size: float) -> float | None:
        """Seconds to have so many bytes of a product on the host: to read them for the way there, and to write them on
        the way back. The way itself is taken as hidden behind the layers; None of what is no product's.
        """
        return 2 * size / self.bytes_per_second if self.to_host and eqn.primitive.name in _MATRIX else None

    def cost(self, eqn: Any) -> Cost:
        """Of computing the equation once."""
        flops, name = equation_flops(eqn), eqn.primitive.name
        traffic = sum(_bytes(var.aval) for var in (*eqn.invars, *eqn.outvars)) / self.bytes_per_second
        if name in _MATRIX:
            return Cost(max(flops / self._of_products(eqn), traffic), flops)
        if name in _SPECIAL:
            return Cost(flops / self.special, flops)
        return Cost(max(flops / self.vector_flops, traffic if name.startswith(_READERS) else 0.0), flops)

    def _of_products(self, eqn: Any) -> float:
        return self.dot_flops.get(self._dtype(eqn), min(self.dot_flops.values()))

    def _dtype(self, eqn: Any) -> str:
        return next((str(var.aval.dtype) for var in eqn.invars if hasattr(var.aval, "dtype")), "")


_PRODUCTS = frozenset(["dot_general", "conv_general_dilated"])
_MATRIX = _PRODUCTS | {"scan", "while", "cond", "custom_vjp_call"}
_SPECIAL = frozenset(
    [
        *("exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "erf_inv"),
        *("sin", "cos", "pow", "div", "sqrt", "rsqrt"),
    ]
)
# what ends a fusion, and bits that must be made anew
_READERS = ("reduce_", "cum", "sort", "gather", "scatter", "transpose", "concatenate", "random_bits", "threefry")


def fusible(eqn: Any) -> bool:
    """Whether XLA may compute the equation anew within a fusion of what reads it."""
    return eqn.primitive.name not in _MATRIX and not eqn.primitive.name.startswith(_READERS)


CPU = Roofline(
    {"float32": 1e11, "bfloat16": 1e11, "float16": 1e11, "float64": 5e10},
    5e9,
    2e9,
    6e9,
    "measured once on 2 shared cores: products of 256 x 128 x 512 and larger (float64 in 1.9 to 2.2 times the time of "
    "float32), exp and tanh of 2**17 elements, and x + 1 of 32 MiB",
    cached=True,
)
STANDS_FOR = {"tpu": "tpu:v5e", "gpu": "gpu:h100"}  # an attached device is taken for that one


def roofline(platform: str, description: Description | None = None) -> Roofline:
    """Of a described device, or of what is attached of that platform."""
    if description is not None:
        return described(description)
    return CPU if platform == "cpu" else described(load_description(STANDS_FOR.get(platform, "gpu:h100")))


def described(device: Description) -> Roofline:
    """From a description: products and memory as it says; the rest from what the chip is made of.

    A GPU's lanes do one operation a clock, and a special function on 16 of a core's lanes (CUDA C++ Programming Guide,
    throughput of native arithmetic instructions). A TPU's vector unit has 8 x 128 lanes of 4 operations beside four
    systolic arrays of 128 x 128 (32 times as much arithmetic), and makes one special function a lane and clock: the
    ratio of the v5e, assumed of all.
    """
    if device.platform == "gpu":
        clock = device.device["core_count"] * device.device["clock_rate_ghz"] * 1e9
        vector, special = clock * device.device["fpus_per_core"], clock * 16
    else:
        vector = device.peak_flops["bfloat16"] / 32
        special = vector / 4
    source = f"{device.roofline_source}; vector units from the chip's description"
    return Roofline(device.peak_flops, vector, special, device.bandwidth, source, to_host=device.to_host)


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 0)
