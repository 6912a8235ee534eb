"""A model of your own: `artifex-bench run remat --model examples.gated:Gated --strategy none,all,dots_saveable`."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name


class Layer(nnx.Module):
    """x -> x + down(silu(gate(x)) * up(x)), the gated MLP of Shazeer 2020 (arXiv:2002.05202)."""

    def __init__(self, case, rngs):
        self.gate = nnx.Linear(case.width, 4 * case.width, rngs=rngs)
        self.up = nnx.Linear(case.width, 4 * case.width, rngs=rngs)
        self.down = nnx.Linear(4 * case.width, case.width, rngs=rngs)

    def __call__(self, x):
        hidden = checkpoint_name(jax.nn.silu(self.gate(x)) * self.up(x), "hidden")  # a name that policies can use
        return x + self.down(hidden)


class Gated(nnx.Module):
    def __init__(self, case, rngs):
        self.layers = nnx.List([Layer(case, rngs) for _ in range(case.depth)])

    def loss(self, batch, run):
        return jnp.mean((run("layers", batch["x"]) - batch["y"]) ** 2)

    @staticmethod
    def batch(case, key):
        x = jax.random.normal(key, (case.batch, case.width))
        return {"x": x, "y": jnp.roll(x, 1, axis=0)}
