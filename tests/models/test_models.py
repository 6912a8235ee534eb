"""The models follow the protocol at every size and dtype, and define the tags of their table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from artifex_bench.core.case import CaseError
from artifex_bench.models import MODELS, load_model
from artifex_bench.models.initial import scaled_uniform
from artifex_bench.models.transformer import Transformer
from artifex_bench.remat.measure import jaxprs
from artifex_bench.remat.measure.program import build_program
from tests.programs import case


def traced(one):
    program = build_program(one)
    return jax.make_jaxpr(program.gradient)(*program.eval_shapes())


@pytest.mark.parametrize("model", MODELS)
def test_a_model_defines_the_tags_of_its_entry(model):
    assert jaxprs.find_tags(traced(case(model))) == set(MODELS[model].tags)


@pytest.mark.parametrize("layers", ["scan", "unroll"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS)
def test_parameters_and_gradients_have_the_dtype_of_the_case_and_the_loss_is_float32(model, dtype, layers):
    program = build_program(case(model, dtype=dtype, layers=layers))
    state, batch = program.eval_shapes()
    loss, gradients = jax.eval_shape(program.gradient, state, batch)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves((state["params"], gradients))} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("model", MODELS)
def test_losses_are_finite_and_decrease_in_a_few_steps(model):
    program = build_program(case(model))
    state, batch = program.make_arrays()
    step = jax.jit(program.step)
    losses = []
    for _ in range(20):
        state, loss = step(state, batch)
        losses.append(float(loss))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("model", MODELS)
def test_flops_of_a_step_grow_with_depth_and_batch(model):
    def flops(**fields):
        return jaxprs.count_flops(traced(case(model, **fields)))

    assert flops(depth=2) < flops(depth=4) < flops(depth=4, batch=4)


def test_a_token_attends_only_to_those_before_it():
    """The output at a position does not change with the tokens after it."""
    model = Transformer(case("transformer", sequence=6), nnx.Rngs(0))

    def logits(tokens_BS):
        x_BSD = model.tokens(tokens_BS) + model.positions(jnp.arange(tokens_BS.shape[1]))
        for layer in model.layers:
            x_BSD = layer(x_BSD)
        return np.asarray(x_BSD)

    tokens = jnp.asarray([[1, 2, 3, 4, 5, 6]])
    changed = tokens.at[0, 4].set(99)
    assert np.allclose(logits(tokens)[:, :4], logits(changed)[:, :4], atol=1e-6)
    assert not np.allclose(logits(tokens)[:, 4:], logits(changed)[:, 4:], atol=1e-3)


def test_the_parts_of_a_block_in_order_are_the_block():
    block = Transformer(case("transformer"), nnx.Rngs(0)).layers[0]
    x = jax.random.normal(jax.random.key(0), (2, 4, 8))
    y = x
    for part in block.parts().values():
        y = part(y)
    assert np.array_equal(y, block(x))


def test_initial_weights_have_the_bound_of_their_fan_in_and_come_from_the_key():
    make = scaled_uniform(gain=2)
    key, other = jax.random.key(0, impl="rbg"), jax.random.key(1, impl="rbg")
    weights = np.asarray(make(key, (300, 40), jnp.bfloat16), np.float32)
    bound = (6 / 300) ** 0.5
    assert 0.9 * bound < np.abs(weights).max() <= 1.01 * bound
    assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert np.array_equal(weights, np.asarray(make(key, (300, 40), jnp.bfloat16), np.float32))
    assert not np.array_equal(weights, np.asarray(make(other, (300, 40), jnp.bfloat16), np.float32))


def test_tracing_initial_weights_gives_their_shape():
    shape = jax.eval_shape(lambda key: scaled_uniform()(key, (3, 4), jnp.float32), jax.random.key(0))
    assert (shape.shape, shape.dtype) == ((3, 4), jnp.float32)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mpl", f"'mpl'.* {', '.join(MODELS)}, package.module:attribute"),
        ("nowhere_at_all:Model", "'nowhere_at_all'"),
        ("examples.gated:Grated", "'examples.gated'.* 'Grated'"),
        ("examples.gated:Layer", r"loss\(batch, run\).* batch\(case, key\)"),
    ],
)
def test_the_error_of_a_model_that_cannot_be_loaded_names_it(name, words):
    with pytest.raises(CaseError, match=words):
        load_model(name)
