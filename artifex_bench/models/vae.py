"""A variational autoencoder (Kingma & Welling 2014): two stacks of layers around a sampled latent.

Shapes: B batch, X input, D width, Z latent = D / 2.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from artifex_bench.core.case import RematCase
from artifex_bench.models.initial import scaled_uniform

UNIFORM = scaled_uniform()
INPUTS = 784  # a 28 x 28 image, as in the paper


class Layer(nnx.Module):
    """x_BD -> x_BD + gelu(x_BD W + b)."""

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        dtype = jnp.dtype(case.dtype)
        self.linear = nnx.Linear(case.width, case.width, kernel_init=UNIFORM, dtype=dtype, param_dtype=dtype, rngs=rngs)

    def __call__(self, x_BD: jax.Array) -> jax.Array:
        """Return the layer's output, of the shape of x_BD."""
        y_BD = checkpoint_name(self.linear(x_BD), "linear")
        return x_BD + checkpoint_name(jax.nn.gelu(y_BD), "gelu")


class Vae(nnx.Module):
    """Encoder and decoder of `depth` layers each."""

    stacks = ("encoder", "decoder")
    tensor: ClassVar[dict[str, str]] = {"linear": "column"}  # outputs are gathered, so that all layers are alike

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        dtype = jnp.dtype(case.dtype)
        linear = partial(nnx.Linear, kernel_init=UNIFORM, dtype=dtype, param_dtype=dtype, rngs=rngs)
        latent = case.width // 2
        self.embed = linear(INPUTS, case.width)
        self.encoder = nnx.List([Layer(case, rngs) for _ in range(case.depth)])
        self.mean, self.log_variance = linear(case.width, latent), linear(case.width, latent)
        self.expand = linear(latent, case.width)
        self.decoder = nnx.List([Layer(case, rngs) for _ in range(case.depth)])
        self.out = linear(case.width, INPUTS)

    def loss(self, batch: dict[str, jax.Array], run: Any) -> jax.Array:
        """Return the negative evidence lower bound (Kingma & Welling 2014, eq. 10), the mean over samples.

        `batch` is {"x": x_BX, "noise": noise_BZ}. The reconstruction is that of Bernoulli outputs.
        """
        h_BD = run("encoder", self.embed(batch["x"]))
        mean_BZ, log_variance_BZ = self.mean(h_BD), self.log_variance(h_BD)
        z_BZ = mean_BZ + jnp.exp(0.5 * log_variance_BZ) * batch["noise"]
        logits_BX = self.out(run("decoder", self.expand(z_BZ))).astype(jnp.float32)
        x_BX = batch["x"].astype(jnp.float32)
        reconstruction_B = jnp.sum(jax.nn.softplus(logits_BX) - x_BX * logits_BX, axis=-1)
        mean_BZ, log_variance_BZ = mean_BZ.astype(jnp.float32), log_variance_BZ.astype(jnp.float32)
        divergence_B = -0.5 * jnp.sum(1 + log_variance_BZ - jnp.square(mean_BZ) - jnp.exp(log_variance_BZ), axis=-1)
        return jnp.mean(reconstruction_B + divergence_B)

    @staticmethod
    def batch(case: RematCase, key: jax.Array) -> dict[str, jax.Array]:
        """Return {"x": x_BX, uniform in [0, 1), "noise": noise_BZ, normally distributed}."""
        data, noise = jax.random.split(key)
        return {
            "x": jax.random.uniform(data, (case.batch, INPUTS)).astype(case.dtype),
            "noise": jax.random.normal(noise, (case.batch, case.width // 2)).astype(case.dtype),
        }
