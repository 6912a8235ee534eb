"""Roofline: what a device is assumed to do per second, and from it what an equation costs. Estimates, not figures.

By the roofline model (Williams et al. 2009) an operation takes as long as its arithmetic or its memory traffic,
whichever is longer. Elementwise operations are assumed to be fused with their readers, so they have no traffic of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.remat.measure.jaxprs import count_bytes, count_equation_flops
from artifex_bench.remat.planner.graph import Cost, Rates
from artifex_bench.targets import Description, load_description


@dataclass(frozen=True)
class Roofline:
    """Rates of a device.

    Attributes:
        dot_flops: FLOP/s of matrix products, by the dtype of their operands.
        vector_flops: FLOP/s of other arithmetic.
        special: Special functions (exp, tanh and so on) per second.
        bytes_per_second: Memory bandwidth.
        source: Where the rates come from.
        cached: Whether results that are not saved stay in a cache.
        to_host: Bytes per second to host memory, and from it at the same time; 0 if unknown, or if the device has no
            memory of its own.
    """

    dot_flops: Mapping[str, float]
    vector_flops: float
    special: float
    bytes_per_second: float
    source: str
    cached: bool = False
    to_host: float = 0.0

    def make_rates(self) -> Rates:
        """Return the rates as rules for the planner."""
        return Rates(
            self.estimate_cost,
            self.estimate_saving,
            is_fusible,
            self.estimate_offloading,
            self.to_host,
            self.find_unknown_dtype,
        )

    def find_unknown_dtype(self, eqn: Any) -> str | None:
        """Return the dtype of a product whose rate is unknown, else None. The slowest known rate stands in for it."""
        dtype = _operand_dtype(eqn)
        return None if eqn.primitive.name not in _PRODUCTS or dtype in self.dot_flops else dtype

    def estimate_saving(self, eqn: Any, size: float) -> float:
        """Return the seconds to write `size` bytes of the equation's result and to read them again.

        The result of a product is written and read in any case, saved or recomputed, unless a cache holds it.
        """
        return 0.0 if eqn.primitive.name in _MATRIX and not self.cached else 2 * size / self.bytes_per_second

    def estimate_offloading(self, eqn: Any, size: float) -> float | None:
        """Return the seconds to keep `size` bytes of a product's result in host memory; None for other operations.

        They are read on the device before they go to the host, and written when they return. The transfer itself is
        assumed to overlap with the layers' computation.
        """
        return 2 * size / self.bytes_per_second if self.to_host and eqn.primitive.name in _MATRIX else None

    def estimate_cost(self, eqn: Any) -> Cost:
        """Return the cost of computing the equation once."""
        flops, name = count_equation_flops(eqn), eqn.primitive.name
        traffic = sum(count_bytes(var.aval) for var in (*eqn.invars, *eqn.outvars)) / self.bytes_per_second
        if name in _MATRIX:
            rate = self.dot_flops.get(_operand_dtype(eqn), min(self.dot_flops.values()))
            return Cost(max(flops / rate, traffic), flops)
        if name in _SPECIAL:
            return Cost(flops / self.special, flops)
        return Cost(max(flops / self.vector_flops, traffic if name.startswith(_UNFUSED) else 0.0), flops)


_PRODUCTS = frozenset(["dot_general", "conv_general_dilated"])
_MATRIX = _PRODUCTS | {"scan", "while", "cond", "custom_vjp_call"}
_SPECIAL = frozenset(
    [
        *("exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "erf_inv"),
        *("sin", "cos", "pow", "div", "sqrt", "rsqrt"),
    ]
)
# operations that end a fusion, and random bits, which would be drawn again
_UNFUSED = ("reduce_", "cum", "sort", "gather", "scatter", "transpose", "concatenate", "random_bits", "threefry")


def is_fusible(eqn: Any) -> bool:
    """Return whether XLA may recompute the equation inside the fusion that reads it."""
    return eqn.primitive.name not in _MATRIX and not eqn.primitive.name.startswith(_UNFUSED)


def _operand_dtype(eqn: Any) -> str:
    return next((str(var.aval.dtype) for var in eqn.invars if hasattr(var.aval, "dtype")), "")


# Measured once on 2 shared cores of a virtual machine, as `source` says; not calibrated to the machine that runs this.
CPU = Roofline(
    {"float32": 1e11, "bfloat16": 1e11, "float16": 1e11, "float64": 5e10},
    5e9,
    2e9,
    6e9,
    "measured once on 2 shared cores: products of 256 x 128 x 512 and larger (float64 in 1.9 to 2.2 times the time of "
    "float32), exp and tanh of 2**17 elements, and x + 1 of 32 MiB",
    cached=True,
)
# The description that stands for a local device of a platform. A choice: if steps can be run, the plan with the fastest
# measured step is chosen, so these rates only decide what is compiled.
STANDS_FOR = {"tpu": "tpu:v5e", "gpu": "gpu:h100"}


def find_roofline(platform: str, description: Description | None = None) -> Roofline:
    """Return the roofline of a described device, or of a local device of that platform."""
    if description is not None:
        return make_roofline(description)
    return CPU if platform == "cpu" else make_roofline(load_description(STANDS_FOR.get(platform, "gpu:h100")))


def make_roofline(device: Description) -> Roofline:
    """Return the roofline of a description.

    Products and memory are as the description says. The lanes of a GPU do one operation per clock, and a core has 16
    units for special functions (CUDA C++ Programming Guide, throughput of native arithmetic instructions). A TPU v5e
    has 8 x 128 vector lanes of 4 operations besides four systolic arrays of 128 x 128, so its vector unit does 1/32 of
    their arithmetic, and one special function per lane and clock. The same ratios are assumed for all TPUs.
    """
    if device.platform == "gpu":
        clock = device.device["core_count"] * device.device["clock_rate_ghz"] * 1e9
        vector, special = clock * device.device["fpus_per_core"], clock * 16
    else:
        vector = device.peak_flops["bfloat16"] / 32
        special = vector / 4
    source = f"{device.roofline_source}; vector units from the chip's description"
    return Roofline(device.peak_flops, vector, special, device.bandwidth, source, to_host=device.to_host)
