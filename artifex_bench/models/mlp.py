"""The mlp: linear + relu layers of one width, the simplest model whose activations dominate its memory.

Shapes: B batch, D width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from artifex_bench.core.case import RematCase
from artifex_bench.models.initial import scaled_uniform


class Layer(nnx.Module):
    """x_BD -> relu(x_BD W + b)."""

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        self.linear = nnx.Linear(
            case.width,
            case.width,
            kernel_init=scaled_uniform(gain=2),  # keeps activations and gradients of deep stacks in range
            dtype=case.dtype,
            param_dtype=jnp.dtype(case.dtype),
            rngs=rngs,
        )

    def __call__(self, x_BD: jax.Array) -> jax.Array:
        """Return the layer's output, of the shape of x_BD."""
        y_BD = checkpoint_name(self.linear(x_BD), "linear")
        return checkpoint_name(jax.nn.relu(y_BD), "relu")


class Mlp(nnx.Module):
    """`depth` layers of `width`."""

    tensor: ClassVar[dict[str, str]] = {"linear": "column"}  # outputs are gathered, so that all layers are alike

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        self.layers = nnx.List([Layer(case, rngs) for _ in range(case.depth)])

    def loss(self, batch: dict[str, jax.Array], run: Any) -> jax.Array:
        """Return the mean square of the output, a float32 scalar; `batch` is {"x": x_BD}."""
        y_BD = run("layers", batch["x"])
        return jnp.mean(jnp.square(y_BD.astype(jnp.float32)))

    @staticmethod
    def batch(case: RematCase, key: jax.Array) -> dict[str, jax.Array]:
        """Return {"x": x_BD}, normally distributed, in the dtype of the case."""
        return {"x": jax.random.normal(key, (case.batch, case.width), case.dtype)}
