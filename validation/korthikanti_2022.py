"""Korthikanti et al. 2022 (arXiv:2205.05198): bytes and FLOPs of a transformer layer.

Letters are the paper's: s sequence, b batch, h width, a attention heads. The paper assumes e = 2 bytes per value; the
formulas here take e from the dtype. One layer is the difference between two depths, so embedding and head cancel. This
tool's layer has no dropout.

What autodiff saves depends on JAX: since 0.11.2 the derivative of tanh reads tanh's result, so gelu saves three values
of width 4 h. Earlier versions save four.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from packaging.version import Version

from artifex_bench.core.case import DTYPES
from artifex_bench.core.versions import TANH_READS_ITS_RESULT
from validation.reproduction import Reproduction

SELECTIVE = "save_any_names_but_these:scores+probs"
COUNTED = "save_only_these_names:query+key+value+probs+context+attention_out+mlp_up+mlp_act"
PUBLISHED_MODELS = {(12288, 96): "GPT-3", (20480, 128): "MT-NLG"}  # (h, a)
AXES = (
    *("width", "heads", "batch", "sequence", "dtype", "layers", "step", "optimizer", "compiler", "target", "seed"),
    "jax",
)


@dataclass(frozen=True)
class Layer:
    """One transformer layer as a run measured it.

    Attributes:
        h: Width.
        a: Attention heads.
        b: Batch.
        s: Sequence length.
        dtype: A key of `DTYPES`.
        layers: `scan` or `unroll`.
        jax: The version of JAX. None in a run that does not record it, which is an old one.
        residuals: Strategy -> residuals, in bytes.
        flops: Strategy -> FLOPs of forward and backward pass, with recomputation.
    """

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
        """Bytes per value."""
        return DTYPES[self.dtype]

    @property
    def sbh(self) -> int:
        """The paper's unit s b h: values in one activation of the layer's width."""
        return self.s * self.b * self.h

    @property
    def as_over_h(self) -> float:
        """The paper's term a s / h."""
        return self.a * self.s / self.h

    @property
    def shape(self) -> str:
        """Model, size and dtype in words."""
        name = PUBLISHED_MODELS.get((self.h, self.a), "layer")
        return f"{name} (a {self.a}, s {self.s}, h {self.h}), {self.dtype}"

    @property
    def gelu_values(self) -> int:
        """Number of values of width 4 h that autodiff saves inside gelu."""
        return 3 if self.jax is not None and Version(self.jax) >= TANH_READS_ITS_RESULT else 4

    @property
    def published_residuals(self) -> float:
        """Equation 1 in units of s b h: values of e bytes, dropout masks of one. With e = 2: 34 + 5 a s/h."""
        return 16 * self.e + 2 + (2 * self.e + 1) * self.as_over_h

    @property
    def derived_residuals(self) -> int:
        """Residuals under strategy `none` in bytes, as the sum of `RESIDUAL_TERMS`."""
        return sum(term(self) for term in RESIDUAL_TERMS.values())

    def residuals_in_sbh(self, strategy: str) -> float:
        """Residuals under a strategy, in units of s b h."""
        return self.residuals[strategy] / self.sbh

    def recomputed_share(self, strategy: str) -> float:
        """FLOPs that a strategy adds, as a share of those of strategy `none`."""
        return self.flops[strategy] / self.flops["none"] - 1


def find_layers(table: pd.DataFrame, *strategies: str) -> Iterator[Layer]:
    """Find the transformer layers of a run.

    Args:
        table: Remat cases with status `ok`, as `load_run` returns them.
        *strategies: Strategies that a layer must have been traced with, at two depths each.

    Yields:
        One layer per shape and version of JAX.
    """
    rows = table[(table.model == "transformer") & table.residual_bytes.notna()]
    for key, shape in rows.groupby(list(AXES), sort=False, dropna=False):
        residuals, flops = {}, {}
        for strategy, depths in shape.sort_values("depth").groupby("strategy", sort=False):
            if len(depths) > 1:
                shallow, deep = depths.iloc[-2], depths.iloc[-1]
                added = deep.depth - shallow.depth
                residuals[str(strategy)] = (deep.residual_bytes - shallow.residual_bytes) / added
                flops[str(strategy)] = (deep.gradient_flops - shallow.gradient_flops) / added
        if set(strategies) <= set(residuals):
            h, a, b, s = map(int, key[:4])
            jax = key[AXES.index("jax")]
            yield Layer(h, a, b, s, str(key[4]), str(key[5]), jax if isinstance(jax, str) else None, residuals, flops)


# What autodiff saves of our layer under strategy none -> bytes, in the order of the forward pass. A norm computes in
# float32 in every dtype. It saves three values per element, four per token, and its scale, unless the scale is the
# parameter itself.
RESIDUAL_TERMS = {
    "the norms' values in float32": lambda y: 2 * 3 * 4 * y.sbh,
    "the norms' statistics": lambda y: (
        2 * 4 * 4 * y.s * y.b + (0 if y.dtype == "float32" and y.layers == "unroll" else 2 * 4 * y.h)
    ),
    "the norms' outputs": lambda y: 2 * y.e * y.sbh,
    "query, key, value": lambda y: 3 * y.e * y.sbh,
    "softmax: exp and probs": lambda y: 2 * y.e * y.a * y.s**2 * y.b,
    "softmax: sum and its power": lambda y: 2 * y.e * y.a * y.s * y.b,
    "context": lambda y: y.e * y.sbh,
    "mlp_up, mlp_act": lambda y: 8 * y.e * y.sbh,
    "values inside gelu": lambda y: 4 * y.gelu_values * y.e * y.sbh,
}


def compare_residuals(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the residuals without recomputation with equation 1, in units of s b h."""
    for y in find_layers(table, "none"):
        unexplained = y.residuals["none"] - y.derived_residuals
        exact = f"{unexplained:+.0f} bytes unexplained" if unexplained else "exact to the byte"
        terms = ", ".join(f"{name} {term(y) / y.sbh:.4g}" for name, term in RESIDUAL_TERMS.items())
        reason = (
            f"no dropout (-2 - {y.e + 1} a s/h); XLA has fused nothing yet: exp and probs are both saved "
            f"(+{y.e} a s/h), gelu saves {y.gelu_values} values (+{4 * y.gelu_values * y.e}), norms compute in float32 "
            f"(+{24 - 2 * y.e}). Terms ({exact}): {terms}"
        )
        yield Reproduction(y.shape, y.published_residuals, y.residuals_in_sbh("none"), reason)


def compare_counted_tensors(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the tensors that the paper counts and that our layer has too, saved by name, in units of s b h."""
    for y in find_layers(table, COUNTED):
        reason = (
            f"saved by name: layer input, q, k, v, context, attention_out: {6 * y.e}; mlp_up, mlp_act: {8 * y.e}; probs"
        )
        yield Reproduction(y.shape, 14 * y.e + y.e * y.as_over_h, y.residuals_in_sbh(COUNTED), reason)


def compare_selective_residuals(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the residuals with selective recomputation with equation 6, in units of s b h."""
    for y in find_layers(table, SELECTIVE):
        reason = (
            f"no dropout masks (-2); the outputs of two norms have no name, so the policy recomputes them (-{2 * y.e})"
        )
        yield Reproduction(y.shape, 16 * y.e + 2, y.residuals_in_sbh(SELECTIVE), reason)


def compare_quadratic_residuals(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the residuals that grow with s^2 under selective recomputation, in units of a s^2 b, with equation 6."""
    for y in find_layers(table, SELECTIVE):
        quadratic = (y.residuals[SELECTIVE] - 14 * y.e * y.sbh) / (y.a * y.s**2 * y.b)
        yield Reproduction(y.shape, 0.0, quadratic, f"the residuals are exactly {14 * y.e} s b h bytes")


def compare_removed_share(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the share of the residuals that selective recomputation removes with section 5."""
    for y in find_layers(table, "none", SELECTIVE):
        published = (2 * y.e + 1) * y.as_over_h / y.published_residuals
        none, left = y.residuals_in_sbh("none"), y.residuals_in_sbh(SELECTIVE)
        quadratic = 2 * y.e * y.as_over_h
        reason = (
            f"none saves {none:.4g} s b h, {quadratic:.4g} of it quadratic; the policy also drops "
            f"{none - left - quadratic:.4g} of norms and gelu, which have no name"
        )
        if COUNTED in y.residuals:
            share = 1 - left / y.residuals_in_sbh(COUNTED)
            reason += f"; counting only the paper's tensors without dropout, it removes {share:.0%}"
        yield Reproduction(y.shape, published, 1 - left / none, reason)


def compare_full_residuals(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the residuals with full recomputation with table 2, in units of s b h."""
    for y in find_layers(table, "all"):
        yield Reproduction(y.shape, float(y.e), y.residuals_in_sbh("all"), "only the layer's input is saved")


def compare_model_flops(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the FLOPs of forward and backward pass with equation 7, in units of b s h^2."""
    for y in find_layers(table, "none"):
        published = 72 * (1 + y.s / (6 * y.h))
        ours = y.flops["none"] / (y.sbh * y.h)
        yield Reproduction(y.shape, published, ours, "ours counts element-wise arithmetic too")


def compare_selective_flops(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the share of FLOPs that selective recomputation adds with equation 9."""
    for y in find_layers(table, "none", SELECTIVE):
        ratio = y.s / (6 * y.h)
        total = 72 * (1 + ratio)
        product = 2 * y.s / y.h / total
        ours = y.recomputed_share(SELECTIVE)
        reason = (
            f"appendix A adds two products, 4 b s^2 h, which are {2 * product:.2%}; its equation 8 counts three times "
            f"that. Ours saves context and recomputes only the scores: one product {product:.2%}, softmax and norms "
            f"{ours - product:.2%}"
        )
        yield Reproduction(y.shape, ratio / (1 + ratio), ours, reason)


def compare_full_flops(table: pd.DataFrame) -> Iterator[Reproduction]:
    """Compare the share of FLOPs that full recomputation adds with one more forward pass."""
    for y in find_layers(table, "none", "all"):
        total = 72 * (1 + y.s / (6 * y.h))
        reason = (
            f"the backward pass does not need the output of mlp_down, which is 8 of the forward pass's "
            f"{24 + 4 * y.s / y.h:.4g} b s h^2; the other products are {(16 + 4 * y.s / y.h) / total:.1%}"
        )
        yield Reproduction(y.shape, 1 / 3, y.recomputed_share("all"), reason)
