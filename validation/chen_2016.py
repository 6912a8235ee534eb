"""Chen et al. 2016 (arXiv:1604.06174): recomputation of n layers in segments.

The memory is least with segments of sqrt(n) layers, and then grows as sqrt(n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import DTYPES
from artifex_bench.kinds.remat_groups import SHAPE, describe_shape
from validation.reproduction import Reproduction

STRUCTURES = {"segments": "segments", "nested": "segments, each layer recomputed within them"}
MINIMUM_LENGTHS = 4  # fewer segment lengths than this do not locate a minimum


@dataclass(frozen=True)
class Curve:
    """Compiled peak over the length of segments, for one shape.

    Attributes:
        structure: A key of `STRUCTURES`.
        shape: Shape and structure in words.
        lengths: One row per measured segment length, with a column `length`.
        baseline: The row of strategy `none`.
    """

    structure: str
    shape: str
    lengths: pd.DataFrame
    baseline: pd.Series


def find_curves(table: pd.DataFrame) -> Iterator[Curve]:
    """Find the shapes that were compiled with enough segment lengths.

    Args:
        table: Remat cases with status `ok`, as `load_run` returns them.

    Yields:
        One curve per shape and structure with `MINIMUM_LENGTHS` lengths and one case of strategy `none`.
    """
    compiled = table[table.compiled_peak_bytes.notna()]
    axes = [*SHAPE, "seed"]
    for key, rows in compiled.groupby(axes, sort=False, dropna=False):
        title = describe_shape(dict(zip(axes, key, strict=True)))
        baseline = rows[rows.strategy == "none"]
        for structure, description in STRUCTURES.items():
            lengths = rows[rows.strategy.str.fullmatch(rf"{structure}-\d+")].copy()
            lengths["length"] = [int(name.rpartition("-")[2]) for name in lengths.strategy]
            if len(lengths) >= MINIMUM_LENGTHS and len(baseline) == 1:
                yield Curve(structure, f"{title}; {description}", lengths, baseline.iloc[0])


def compare_best_length(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the segment length with the least memory with the measured length that is nearest to sqrt(n).

    Args:
        table: Remat cases with status `ok`, as `load_run` returns them.

    Yields:
        Segment lengths, in layers.
    """
    for curve in find_curves(table):
        none = curve.baseline
        best = curve.lengths.loc[curve.lengths.compiled_peak_bytes.idxmin()]
        output_bytes = none.batch * (none.sequence if none.sequence > 0 else 1) * none.width * DTYPES[none["dtype"]]
        cost = none.residual_bytes / none.depth / output_bytes
        if curve.structure == "nested":
            reason = "a segment saves the input of each of its layers, one unit per layer, as the paper assumes"
        else:
            # n/k segment inputs plus the residuals of the one segment that is being recomputed
            reason = (
                f"a layer saves {cost:.3g} times the bytes of its output (the paper assumes 1), so n/k + {cost:.3g} k "
                f"is least at k = sqrt(n / {cost:.3g}) = {math.sqrt(none.depth / cost):.3g}; measured lengths: "
                f"{', '.join(map(str, sorted(curve.lengths.length)))}"
            )
        root = math.sqrt(none.depth)
        nearest = min(curve.lengths.length, key=lambda length: abs(math.log(length / root)))
        yield Reproduction(curve.shape, float(nearest), float(best.length), reason)


def compare_recomputed_flops(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the FLOPs that segments recompute with one more forward pass.

    Args:
        table: Remat cases with status `ok`, as `load_run` returns them.

    Yields:
        Recomputed FLOPs as a share of those of strategy `none`.
    """
    for curve in find_curves(table):
        if curve.structure == "segments":
            recomputed = curve.lengths.gradient_flops.max() / curve.baseline.gradient_flops - 1
            reason = "the most of all lengths; a backward pass costs two forward passes"
            yield Reproduction(curve.shape, 1 / 3, recomputed, reason)


def compare_growth(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare how the least memory of segments grows with the number of layers.

    Parameters and optimizer state are subtracted first, because they grow with n under every strategy.

    Args:
        table: Remat cases with status `ok`, as `load_run` returns them.

    Yields:
        The exponent b of memory = a n^b + c, for shapes with three depths in geometric progression.
    """
    axes = [axis for axis in [*SHAPE, "seed"] if axis != "depth"]
    rows = table[table.compiled_peak_bytes.notna()].copy()
    rows["activations"] = rows.compiled_peak_bytes - rows.parameter_bytes - rows.optimizer_bytes
    for key, shape in rows.groupby(axes, sort=False, dropna=False):
        least = shape[shape.strategy.str.fullmatch(r"segments-\d+")].groupby("depth").activations.min()
        plain = shape[shape.strategy == "none"].set_index("depth").activations
        plain = plain[plain.index.isin(least.index)].sort_index()
        growing = plain.diff().min() > 0 and least.diff().min() > 0
        if growing and len(plain) == len(least) == 3 and least.index[1] ** 2 == least.index[0] * least.index[2]:
            fixed = dict(zip(axes, key, strict=True))
            depths = ", ".join(map(str, least.index))
            where = f"{fixed['model']} of {depths} layers, width {fixed['width']}, batch {fixed['batch']}"
            sizes = ", ".join(map(units.format_bytes, least))
            reason = (
                f"{sizes}, minus the bytes that do not depend on the depth; without recomputation the exponent is "
                f"{_growth_exponent(plain):.2f}"
            )
            yield Reproduction(where, 0.5, _growth_exponent(least), reason)


def _growth_exponent(memory: pd.Series) -> float:
    """Return b of memory = a n^b + c, from three n in geometric progression (the index)."""
    small, middle, large = memory
    return math.log((large - middle) / (middle - small)) / math.log(memory.index[1] / memory.index[0])
