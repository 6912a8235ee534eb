"""Layers with everything that a layer may hold, for the tests of budgets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

WIDTH, DEPTH, BATCH = 8, 3, 6


@jax.custom_vjp
def kernel(x):
    return jnp.sin(x) * x


kernel.defvjp(
    lambda x: (kernel(x), (jnp.sin(x), jnp.cos(x), x)),
    lambda kept, g: (g * (kept[0] + kept[1] * kept[2]),),
)


def layer(w, x, key):
    """A product, gelu, softmax, a kernel with its own derivative, an inner scan, dropout, an inner jit, a tag."""
    h = jax.nn.gelu(x @ w)
    h = checkpoint_name(jax.nn.softmax(kernel(h)), "probs")
    h, sums = jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), c.sum()), h, None, length=3)
    h = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 1), 0.7, h.shape), h / 0.7, 0)
    return x + jax.jit(lambda h: jax.nn.relu(h) * jnp.exp(h))(h) + sums.mean()


def weights(depth=DEPTH):
    keys = jax.random.split(jax.random.key(0), depth)
    return jax.vmap(lambda key: jax.random.normal(key, (WIDTH, WIDTH)) / 3)(keys)


def data():
    return jax.random.normal(jax.random.key(1), (BATCH, WIDTH))


def scanned(ws, x, key=0):
    """Layers in a scan that has results for every step too."""
    keys = jax.random.split(jax.random.key(key), len(ws))

    def body(x, layers):
        y = layer(layers[0], x, layers[1])
        return y, y.mean()

    y, means = jax.lax.scan(body, x, (ws, keys))
    return jnp.sum(y**2) + jnp.sum(means * jnp.arange(len(ws)))


def backwards(ws, x):
    """The same, from the last layer to the first."""
    y, means = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), x.mean()), x, ws, reverse=True)
    return jnp.sum(y**2) + jnp.sum(means * jnp.arange(len(ws)))


def forwards(ws, x):
    """The same, from the first to the last."""
    y, means = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), x.mean()), x, ws)
    return jnp.sum(y**2) + jnp.sum(means * jnp.arange(len(ws)))


def unrolled(ws, x):
    """Layers under `jax.checkpoint`, something else between them."""
    for i, w in enumerate(ws):
        x = jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(w, x + i)
    return jnp.sum(x**2)


def called(ws, x, key=0):
    """Layers under `jax.checkpoint`, one call each."""
    for w, k in zip(ws, jax.random.split(jax.random.key(key), len(ws)), strict=True):
        x = jax.checkpoint(layer)(w, x, k)
    return jnp.sum(x**2)


def whole(ws, x):
    """A function without layers of its own."""
    for w in ws:
        x = jnp.tanh(jnp.exp(-(x**2)) @ w) + x
    return jnp.sum(x**2)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(self, x):
        return x + nnx.gelu(self.linear(self.norm(x)))


def nnx_scanned():
    """(loss, its parameters) of layers under `nnx.scan` of `nnx.remat`."""

    @nnx.split_rngs(splits=DEPTH)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def make(rngs):
        return Block(rngs)

    graph, params = nnx.split(make(nnx.Rngs(0)))

    def loss(params, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def run(x, block):
            return nnx.remat(lambda x, block: block(x))(x, block)

        return jnp.sum(run(x, nnx.merge(graph, params)) ** 2)

    return loss, params
