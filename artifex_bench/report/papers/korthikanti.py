"""Korthikanti et al. 2022 (arXiv:2205.05198): bytes and FLOPs of a transformer layer.

In units of s b h (sequence, batch, width; a heads), e bytes a value (the paper: 2). One layer is the difference of two
depths, so that embedding and head drop out. Ours has no dropout.

What autodiff keeps depends on JAX: from 0.11.2 on the derivative of tanh reads its result, so gelu keeps three values
of width 4 h, where earlier versions keep four.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from packaging.version import Version

from artifex_bench.core.case import DTYPES
from artifex_bench.core.versions import TANH_READS_ITS_RESULT
from artifex_bench.report.papers.found import Found

SELECTIVE = "save_any_names_but_these:scores+probs"
COUNTED = "save_only_these_names:query+key+value+probs+context+attention_out+mlp_up+mlp_act"
NAMED = {(12288, 96): "GPT-3", (20480, 128): "MT-NLG"}
AXES = [
    "width",
    "heads",
    "batch",
    "sequence",
    "dtype",
    "layers",
    "step",
    "optimizer",
    "compiler",
    "target",
    "seed",
    "jax",
]


@dataclass(frozen=True)
class Layer:
    """One layer: by strategy its residuals in bytes and its FLOPs of a gradient."""

    h: int
    a: int
    b: int
    s: int
    dtype: str
    layers: str
    jax: str | None
    residuals: dict[str, float]
    flops: dict[str, float]

    @property
    def e(self) -> int:
        return DTYPES[self.dtype]

    @property
    def unit(self) -> int:
        return self.s * self.b * self.h

    @property
    def quadratic(self) -> float:
        """a s / h."""
        return self.a * self.s / self.h

    @property
    def where(self) -> str:
        name = NAMED.get((self.h, self.a), "layer")
        return f"{name} (a {self.a}, s {self.s}, h {self.h}), {self.dtype}"

    @property
    def gelu(self) -> int:
        """How many values of width 4 h autodiff keeps within gelu. A run that does not say its JAX is an old one."""
        return 3 if self.jax is not None and Version(self.jax) >= TANH_READS_ITS_RESULT else 4

    @property
    def published(self) -> float:
        """Equation 1: values of e bytes and dropout masks of one. At e = 2: 34 + 5 a s/h."""
        return 16 * self.e + 2 + (2 * self.e + 1) * self.quadratic

    def kept(self, strategy: str) -> float:
        """Residuals in units of s b h."""
        return self.residuals[strategy] / self.unit

    @property
    def recomputed(self) -> dict[str, float]:
        """FLOPs done again, as a share of the model's, by strategy."""
        return {name: flops / self.flops["none"] - 1 for name, flops in self.flops.items()}


def layers(table: pd.DataFrame, *needed: str) -> Iterator[Layer]:
    """The layers of every shape that was traced at two depths under all strategies that are needed."""
    rows = table[(table.model == "transformer") & table.residual_bytes.notna()]
    for key, shape in rows.groupby(AXES, sort=False, dropna=False):
        residuals, flops = {}, {}
        for strategy, line in shape.sort_values("depth").groupby("strategy", sort=False):
            if len(line) > 1:
                less, more = line.iloc[-2], line.iloc[-1]
                between = more.depth - less.depth
                residuals[str(strategy)] = (more.residual_bytes - less.residual_bytes) / between
                flops[str(strategy)] = (more.gradient_flops - less.gradient_flops) / between
        if set(needed) <= set(residuals):
            h, a, b, s = map(int, key[:4])
            jax = key[AXES.index("jax")]
            yield Layer(h, a, b, s, str(key[4]), str(key[5]), jax if isinstance(jax, str) else None, residuals, flops)


# What autodiff keeps of our layer under strategy none -> bytes, in the order of the forward pass. A norm computes in
# float32 whatever the dtype: three values an element, four a token, and its scale unless that is the very parameter.
TERMS = {
    "the norms' values in float32": lambda y: 2 * 3 * 4 * y.unit,
    "the norms' statistics": lambda y: (
        2 * 4 * 4 * y.s * y.b + (0 if y.dtype == "float32" and y.layers == "unroll" else 2 * 4 * y.h)
    ),
    "the norms' outputs": lambda y: 2 * y.e * y.unit,
    "query, key, value": lambda y: 3 * y.e * y.unit,
    "softmax: exp and probs": lambda y: 2 * y.e * y.a * y.s**2 * y.b,
    "softmax: sum and its power": lambda y: 2 * y.e * y.a * y.s * y.b,
    "context": lambda y: y.e * y.unit,
    "mlp_up, mlp_act": lambda y: 8 * y.e * y.unit,
    "values within gelu": lambda y: 4 * y.gelu * y.e * y.unit,
}


def coefficients(table: pd.DataFrame) -> Iterator[Found]:
    """Bytes a layer without recomputation, against equation 1."""
    for y in layers(table, "none"):
        derived = sum(term(y) for term in TERMS.values())
        measured = y.residuals["none"]
        parts = ", ".join(f"{name} {term(y) / y.unit:.4g}" for name, term in TERMS.items())
        exact = "to the byte" if derived == measured else f"{measured - derived:+.0f} bytes unexplained"
        why = (
            f"no dropout (-2 - {y.e + 1} a s/h); nothing is fused: exp beside probs (+{y.e} a s/h), {y.gelu} values "
            f"within gelu (+{4 * y.gelu * y.e}), norms that compute in float32 (+{24 - 2 * y.e}). "
            f"Term by term ({exact}): {parts}"
        )
        yield Found(y.where, y.published, y.kept("none"), why)


def counted(table: pd.DataFrame) -> Iterator[Found]:
    """The tensors that the paper counts, kept by name."""
    for y in layers(table, COUNTED):
        why = (
            f"kept by name: layer input, q, k, v, context, attention_out: {6 * y.e}; mlp_up, mlp_act: {8 * y.e}; probs"
        )
        yield Found(y.where, 14 * y.e + y.e * y.quadratic, y.kept(COUNTED), why)


def selective(table: pd.DataFrame) -> Iterator[Found]:
    """What selective recomputation leaves, against equation 6."""
    for y in layers(table, SELECTIVE):
        why = f"no dropout masks (-2); the outputs of two norms have no name and are recomputed (-{2 * y.e})"
        yield Found(y.where, 16 * y.e + 2, y.kept(SELECTIVE), why)


def quadratic(table: pd.DataFrame) -> Iterator[Found]:
    """The quadratic part that selective recomputation leaves, in units of a s^2 b."""
    for y in layers(table, SELECTIVE):
        left = (y.residuals[SELECTIVE] - 14 * y.e * y.unit) / (y.a * y.s**2 * y.b)
        yield Found(y.where, 0.0, left, f"all that is kept are {14 * y.e} bytes of s b h")


def saved(table: pd.DataFrame) -> Iterator[Found]:
    """The share of a layer's activations that selective recomputation saves."""
    for y in layers(table, "none", SELECTIVE):
        published = (2 * y.e + 1) * y.quadratic / y.published
        none, left = y.kept("none"), y.kept(SELECTIVE)
        attention = 2 * y.e * y.quadratic
        why = (
            f"{none:.4g} are kept without it, {attention:.4g} of them quadratic; the policy also drops "
            f"{none - left - attention:.4g} of norms and gelu, which have no name"
        )
        if COUNTED in y.residuals:
            why += f"; of the tensors that the paper counts, without dropout, it saves {1 - left / y.kept(COUNTED):.0%}"
        yield Found(y.where, published, 1 - left / none, why)


def full(table: pd.DataFrame) -> Iterator[Found]:
    """What full recomputation leaves."""
    for y in layers(table, "all"):
        yield Found(y.where, float(y.e), y.kept("all"), "the layer's input alone")


def model_flops(table: pd.DataFrame) -> Iterator[Found]:
    """FLOPs of a layer's forward and backward pass, in units of b s h^2, against equation 7."""
    for y in layers(table, "none"):
        unit = y.unit * y.h
        published = 72 * (1 + y.s / (6 * y.h))
        yield Found(y.where, published, y.flops["none"] / unit, "ours counts element-wise arithmetic too")


def selective_flops(table: pd.DataFrame) -> Iterator[Found]:
    """FLOPs that selective recomputation adds, against equation 9."""
    for y in layers(table, "none", SELECTIVE):
        ratio = y.s / (6 * y.h)
        total = 72 * (1 + ratio)
        product = 2 * y.s / y.h / total
        ours = y.recomputed[SELECTIVE]
        why = (
            f"appendix A adds two products, 4 b s^2 h, which are {2 * product:.2%}; its equation 8 charges three times "
            f"that. Ours keeps context and recomputes the scores alone: one product {product:.2%}, softmax and norms "
            f"{ours - product:.2%}"
        )
        yield Found(y.where, ratio / (1 + ratio), ours, why)


def full_flops(table: pd.DataFrame) -> Iterator[Found]:
    """FLOPs that full recomputation adds: one more forward pass."""
    for y in layers(table, "none", "all"):
        total = 72 * (1 + y.s / (6 * y.h))
        why = (
            f"the backward pass needs no output of mlp_down, 8 of the forward pass's {24 + 4 * y.s / y.h:.4g} b s h^2: "
            f"the other products are {(16 + 4 * y.s / y.h) / total:.1%}"
        )
        yield Found(y.where, 1 / 3, y.recomputed["all"], why)
