"""Chen et al. 2016 (arXiv:1604.06174): memory of n layers in segments, least and growing as sqrt(n)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import DTYPES
from artifex_bench.kinds.remat_groups import SHAPE, describe_shape
from artifex_bench.report.papers.found import Found

KINDS = {"segments": "segments", "nested": "segments, each layer recomputed within them"}
LEAST = 4  # lengths that make a curve


def curves(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """(kind, where, the lines of its lengths, the line of none) of every shape with a curve over segments' lengths."""
    rows = table[table.compiled_peak_bytes.notna()]
    for key, shape in rows.groupby([*SHAPE, "seed"], sort=False, dropna=False):
        where = describe_shape(dict(zip([*SHAPE, "seed"], key, strict=True)))
        none = shape[shape.strategy == "none"]
        for kind, words in KINDS.items():
            line = shape[shape.strategy.str.fullmatch(rf"{kind}-\d+")].copy()
            line["length"] = [int(name.rpartition("-")[2]) for name in line.strategy]
            if len(line) >= LEAST and len(none) == 1:
                yield kind, f"{where}; {words}", line, none


def shortest(table: pd.DataFrame) -> Iterator[Found]:
    """The length of segments that needs the least memory, against the one nearest to sqrt(n) of those measured."""
    for kind, where, line, none in curves(table):
        plain = none.iloc[0]
        best = line.loc[line.compiled_peak_bytes.idxmin()]
        passed_on = plain.batch * (plain.sequence if plain.sequence > 0 else 1) * plain.width * DTYPES[plain["dtype"]]
        times = plain.residual_bytes / plain.depth / passed_on
        if kind == "nested":
            why = "a segment holds the inputs of its layers, one unit a layer, as the paper assumes"
        else:
            why = (
                f"a layer keeps {times:.3g} times what it passes on (the paper: as much), so that n/k + {times:.3g} k "
                f"is least at k = sqrt(n / {times:.3g}) = {math.sqrt(plain.depth / times):.3g}; lengths measured: "
                f"{', '.join(map(str, sorted(line.length)))}"
            )
        root = math.sqrt(plain.depth)
        nearest = min(line.length, key=lambda length: abs(math.log(length / root)))
        yield Found(where, float(nearest), float(best.length), why)


def forward(table: pd.DataFrame) -> Iterator[Found]:
    """FLOPs of segments beyond those of none, against one more forward pass."""
    for kind, where, line, none in curves(table):
        if kind == "segments":
            again = line.gradient_flops.max() / none.gradient_flops.iloc[0] - 1
            yield Found(where, 1 / 3, again, "the most over all lengths; a backward pass is two forward passes")


def growth(table: pd.DataFrame) -> Iterator[Found]:
    """The power of n with which the least memory of segments grows; parameters and optimizer state apart."""
    axes = [axis for axis in [*SHAPE, "seed"] if axis != "depth"]
    rows = table[table.compiled_peak_bytes.notna()].copy()
    rows["activations"] = rows.compiled_peak_bytes - rows.parameter_bytes - rows.optimizer_bytes
    for key, shape in rows.groupby(axes, sort=False, dropna=False):
        least = shape[shape.strategy.str.fullmatch(r"segments-\d+")].groupby("depth").activations.min()
        plain = shape[shape.strategy == "none"].set_index("depth").activations
        plain = plain[plain.index.isin(least.index)].sort_index()
        steady = plain.diff().min() > 0 and least.diff().min() > 0
        if steady and len(plain) == len(least) == 3 and least.index[1] ** 2 == least.index[0] * least.index[2]:
            named = dict(zip(axes, key, strict=True))
            depths = ", ".join(map(str, least.index))
            where = f"{named['model']} of {depths} layers, width {named['width']}, batch {named['batch']}"
            sizes = ", ".join(map(units.size, least))
            why = (
                f"{sizes}, less what is the same at every depth; without recomputation the power is {_power(plain):.2f}"
            )
            yield Found(where, 0.5, _power(least), why)


def _power(memory: pd.Series) -> float:
    """b of memory = a n^b + c at three n, each as many times the one before."""
    less, middle, more = memory
    return math.log((more - middle) / (middle - less)) / math.log(memory.index[1] / memory.index[0])
