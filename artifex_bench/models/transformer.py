"""A decoder-only transformer whose attention scores are explicit, so that a policy can save or drop them.

Shapes: B batch, S sequence (T its second use), D width, H heads, K = D / H, F = 4 D, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from artifex_bench.core.case import RematCase
from artifex_bench.models import VOCABULARY
from artifex_bench.models.initial import scaled_uniform

UNIFORM = scaled_uniform()


class Block(nnx.Module):
    """Attention and MLP, each a residual part x -> x (Vaswani 2017).

    Norms come first (Xiong 2020) and there are no biases (Chowdhery 2022).
    """

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        dtype = jnp.dtype(case.dtype)
        linear = partial(nnx.Linear, use_bias=False, kernel_init=UNIFORM, dtype=dtype, param_dtype=dtype, rngs=rngs)
        norm = partial(nnx.LayerNorm, use_bias=False, dtype=dtype, param_dtype=dtype, rngs=rngs)
        width = case.width
        self.heads = case.heads or 1
        self.norm1, self.norm2 = norm(width), norm(width)
        self.query, self.key, self.value = linear(width, width), linear(width, width), linear(width, width)
        self.out = linear(width, width)
        self.up, self.down = linear(width, 4 * width), linear(4 * width, width)

    def parts(self) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """Return the parts of the block by name, each x_BSD -> x_BSD, in the order in which they are applied."""
        return {"attention": self.attention, "mlp": self.mlp}

    def __call__(self, x_BSD: jax.Array) -> jax.Array:
        """Return the block's output, of the shape of x_BSD."""
        return self.mlp(self.attention(x_BSD))

    def attention(self, x_BSD: jax.Array) -> jax.Array:
        """Return x_BSD plus causal self-attention (Vaswani 2017)."""
        batch, sequence, width = x_BSD.shape
        y_BSD = self.norm1(x_BSD)
        split = (batch, sequence, self.heads, width // self.heads)
        q_BSHK = checkpoint_name(self.query(y_BSD), "query").reshape(split)
        k_BTHK = checkpoint_name(self.key(y_BSD), "key").reshape(split)
        v_BTHK = checkpoint_name(self.value(y_BSD), "value").reshape(split)
        scale = (width // self.heads) ** -0.5
        scores_BHST = checkpoint_name(jnp.einsum("BSHK,BTHK->BHST", q_BSHK, k_BTHK), "scores")
        logits_BHST = scores_BHST * scale + _causal_bias(sequence, scores_BHST.dtype)
        probs_BHST = checkpoint_name(jax.nn.softmax(logits_BHST), "probs")
        context_BSD = jnp.einsum("BHST,BTHK->BSHK", probs_BHST, v_BTHK).reshape(x_BSD.shape)
        out_BSD = self.out(checkpoint_name(context_BSD, "context"))
        return x_BSD + checkpoint_name(out_BSD, "attention_out")

    def mlp(self, x_BSD: jax.Array) -> jax.Array:
        """Return x_BSD plus a two-layer MLP with gelu."""
        up_BSF = checkpoint_name(self.up(self.norm2(x_BSD)), "mlp_up")
        act_BSF = checkpoint_name(jax.nn.gelu(up_BSF), "mlp_act")
        return x_BSD + checkpoint_name(self.down(act_BSF), "mlp_down")


def _causal_bias(sequence: int, dtype: Any) -> jax.Array:
    """Return a mask bias_ST to add to scores. Unlike a `where`, it saves no residual for the backward pass."""
    allowed_ST = jnp.tril(jnp.ones((sequence, sequence), bool))
    return jnp.where(allowed_ST, 0, -1e9).astype(dtype)


class Transformer(nnx.Module):
    """Embedding, `depth` blocks, norm and head."""

    tensor: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("query", "key", "value", "up", "head"), "column"),  # query, key and value by heads
        **dict.fromkeys(("out", "down"), "row"),
    }

    def __init__(self, case: RematCase, rngs: nnx.Rngs):
        dtype = jnp.dtype(case.dtype)
        sequence = case.sequence or 1
        embed = partial(nnx.Embed, embedding_init=UNIFORM, dtype=dtype, param_dtype=dtype, rngs=rngs)
        self.tokens = embed(VOCABULARY, case.width)
        self.positions = embed(sequence, case.width)
        self.layers = nnx.List([Block(case, rngs) for _ in range(case.depth)])
        self.norm = nnx.LayerNorm(case.width, use_bias=False, dtype=dtype, param_dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(
            case.width, VOCABULARY, use_bias=False, kernel_init=UNIFORM, dtype=dtype, param_dtype=dtype, rngs=rngs
        )

    def loss(self, batch: dict[str, jax.Array], run: Any) -> jax.Array:
        """Return the mean next-token cross-entropy; `batch` is {"tokens": tokens_BS, "targets": targets_BS}, int32."""
        tokens_BS = batch["tokens"]
        x_BSD = self.tokens(tokens_BS) + self.positions(jnp.arange(tokens_BS.shape[1]))
        logits_BSV = self.head(self.norm(run("layers", x_BSD))).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits_BSV, batch["targets"]).mean()

    @staticmethod
    def batch(case: RematCase, key: jax.Array) -> dict[str, jax.Array]:
        """Return random tokens_BS, and as targets_BS the tokens that follow them."""
        stream = jax.random.bits(key, (case.batch, (case.sequence or 1) + 1), "uint8").astype("int32")
        return {"tokens": stream[:, :-1], "targets": stream[:, 1:]}
