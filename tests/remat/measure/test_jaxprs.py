"""FLOPs, residual bytes and tags, compared with numbers from formulas, from XLA and from JAX."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from jax._src.ad_checkpoint import saved_residuals  # what jax.ad_checkpoint.print_saved_residuals prints
from jax.ad_checkpoint import checkpoint_name
from packaging.version import Version

from artifex_bench.core.versions import TANH_READS_ITS_RESULT
from artifex_bench.memory_profile.measure import describe_residual
from artifex_bench.remat.measure.jaxprs import count_flops, count_residual_bytes, find_residuals, find_tags
from artifex_bench.remat.measure.program import build_program
from tests import programs
from tests.programs import case


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


def count(function, *arguments, **how):
    return count_flops(jax.make_jaxpr(function)(*arguments), **how)


M, K, N, L = 3, 5, 7, 4
A, B, X, SQUARE = shape(M, K), shape(K, N), shape(M, K), shape(K, K)


def repeated(x, w):
    return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=L)[0]


@jax.custom_vjp
def doubled(x):
    return x + x


doubled.defvjp(lambda x: (x + x, x), lambda x, g: (g * x * x,))  # this rule differs from the derivative


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        pytest.param(lambda a, b: a @ b, (A, B), 2 * M * K * N, id="dot"),
        pytest.param(
            lambda a, b: jnp.einsum("hmk,hkn->hmn", a, b), (shape(2, M, K), shape(2, K, N)), 4 * M * K * N, id="batched"
        ),
        pytest.param(lambda x: jnp.sin(x) * x, (X,), 2 * M * K, id="elementwise"),
        pytest.param(lambda x: x.T.reshape(-1)[2:].astype(jnp.bfloat16), (X,), 0, id="moves are free"),
        pytest.param(lambda x: x.sum(axis=0), (X,), M * K, id="reduction"),
        pytest.param(lambda x: jnp.argmax(x, axis=0), (X,), M * K, id="argmax"),
        pytest.param(lambda x: jnp.cumsum(x, axis=0), (X,), M * K, id="cumsum"),
        pytest.param(repeated, (X, SQUARE), L * 2 * M * K * K, id="scan"),
        pytest.param(
            lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x), (X, SQUARE), 1 + 2 * M * K * K, id="cond"
        ),
        pytest.param(
            lambda x, w: jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ w, x),
            (X, SQUARE),
            1 + 2 * M * K * K,
            id="while, once",
        ),
        pytest.param(
            lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME"),
            (shape(2, 3, 8, 8), shape(5, 3, 3, 3)),
            2 * (2 * 5) * 3 * 22**2,  # 22 of 8 x 3 pairs in each dimension: two meet padding
            id="convolution",
        ),
        pytest.param(
            lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", feature_group_count=3),
            (shape(2, 3, 8, 8), shape(6, 1, 3, 3)),
            2 * (2 * 6) * 22**2,
            id="grouped convolution",
        ),
        pytest.param(doubled, (X,), M * K, id="custom_vjp"),
        pytest.param(lambda x: jax.vjp(doubled, x)[1](x)[0], (X,), 2 * M * K, id="custom_vjp, its own rule"),
        pytest.param(jax.nn.relu, (X,), M * K, id="custom_jvp"),
        pytest.param(jax.jit(lambda a, b: jax.jit(jnp.matmul)(a, b)), (A, B), 2 * M * K * N, id="jit in jit"),
        pytest.param(jax.checkpoint(lambda a, b: a @ b), (A, B), 2 * M * K * N, id="remat"),
        pytest.param(lambda a, b: (jnp.sin(a @ b), a + a)[1], (A, B), M * K, id="dead code"),
    ],
)
def test_flops_of_an_operation(function, arguments, expected):
    assert count(function, *arguments) == expected


def test_a_scans_body_counts_once_on_request():
    assert count(repeated, X, SQUARE, loops_once=True) == 2 * M * K * K


def test_nested_scans_multiply():
    def outer(x, w):
        return jax.lax.scan(lambda x, _: (repeated(x, w), None), x, None, length=3)[0]

    assert count(outer, X, SQUARE) == 3 * L * 2 * M * K * K
    assert count(outer, X, SQUARE, loops_once=True) == 2 * M * K * K


def test_the_gradient_of_a_product_is_two_products():
    gradient = jax.grad(lambda a, b: (a @ b).sum(), argnums=(0, 1))
    products = 2 * 2 * M * K * N  # da = g b^T, db = a^T g
    assert products <= count(gradient, A, B) <= products + M * N


def test_loops_once_agrees_with_xlas_cost_analysis():
    """XLA counts a loop's body once: that of 64 products of 64 x 64 as that of one."""

    def function(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=64)[0]

    arguments = shape(64, 64), shape(64, 64)
    xla = jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]
    assert count(function, *arguments, loops_once=True) == pytest.approx(xla, rel=0.05)
    assert count(function, *arguments) == pytest.approx(64 * xla, rel=0.05)


def test_scanned_and_unrolled_layers_have_the_same_flops():
    """They differ in one product: unrolled, the gradient of the first layer's input is dead code."""
    scan, unroll = (count_flops(programs.traced(case("mlp", layers=layers)).gradient) for layers in ("scan", "unroll"))
    assert scan - unroll == 2 * 2 * 8 * 8
    assert count_flops(programs.traced(case("mlp")).gradient, loops_once=True) < 0.4 * scan


def test_recomputing_all_of_a_transformer_is_a_forward_pass_of_its_layers():
    """The last product of each block is left out, with what follows it: the backward pass does not read them."""
    dims = {"width": 16, "batch": 2, "sequence": 8, "heads": 2, "layers": "scan"}
    batch, sequence, width = 2, 8, 16
    products = 4 * (2 * batch * sequence * width**2) + 2 * (2 * batch * sequence**2 * width)  # attention
    products += 2 * batch * sequence * width * 4 * width  # mlp, up

    def forward(depth):
        program = build_program(case("transformer", depth=depth, **dims))
        return count(program.forward, *program.eval_shapes())

    layer = forward(3) - forward(2)
    one = case("transformer", "all", **dims)
    again = (count_flops(programs.traced(one).gradient) - count_flops(programs.plain(one).gradient)) / 5
    assert products < again < layer - 2 * batch * sequence * width * 4 * width


# Residual bytes


def saved_bytes(function, *arguments):
    saved = [aval for aval, why in saved_residuals(function, *arguments) if "from the argument" not in why]
    return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in saved)


def layer(w, x):
    return jnp.tanh(x @ w).sum()


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        pytest.param(lambda x: jnp.sin(x).sum(), (X,), 4 * M * K, id="cos x"),
        pytest.param(lambda x: (3 * x).sum(), (X,), 0, id="linear: nothing"),
        pytest.param(lambda x, y: (x * y).sum(), (X, X), 0, id="arguments apart"),
        pytest.param(lambda x, y: (x.reshape(-1) * y.reshape(-1)).sum(), (X, X), 0, id="reshaped arguments apart"),
        pytest.param(lambda x: jnp.sum(jnp.exp(x) * jnp.exp(x)), (X,), 2 * 4 * M * K, id="exp x, twice computed"),
        pytest.param(lambda x: jnp.square(jnp.exp(x)).sum(), (X,), 2 * 4 * M * K, id="exp x and its double"),
        pytest.param(jax.checkpoint(layer), (SQUARE, X), 0, id="rematerialized"),
        pytest.param(
            jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_saveable), (SQUARE, X), 4 * M * K, id="the dot"
        ),
        pytest.param(lambda x: jnp.sin(x.astype(jnp.bfloat16)).sum(), (X,), 2 * M * K, id="bfloat16"),
    ],
)
def test_residual_bytes_of_a_function(function, arguments, expected):
    assert count_residual_bytes(function, *arguments) == expected


@pytest.mark.parametrize("policy", ["everything_saveable", "dots_saveable", "nothing_saveable"])
def test_residual_bytes_are_those_that_jax_prints(policy):
    def function(w, v, x):
        h = jax.checkpoint(lambda x: jnp.tanh(x @ w), policy=getattr(jax.checkpoint_policies, policy))(x)
        return jnp.sin(h @ v).sum()

    arguments = shape(K, N), shape(N, N), X
    mine = count_residual_bytes(lambda every: function(*every), arguments)  # JAX's differentiates every argument
    assert mine == saved_bytes(function, *arguments) > 0


def test_a_scan_saves_for_every_trip():
    def function(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(x), None), x, None, length=L)[0].sum()

    assert count_residual_bytes(function, X) == L * 4 * M * K


# In units of (sequence x batch x width) a layer, in bytes of bfloat16, the layer's input (2) apart.
INPUT = 2
ROWS = {
    "dots_saveable": lambda ratio: 18 + 2 * ratio,
    "dots_with_no_batch_dims_saveable": lambda ratio: 16,
    "all": lambda ratio: 0,
    "nothing_saveable": lambda ratio: 0,
    "save_only_these_names:query+key+value": lambda ratio: 6,
}


def residuals_per_layer(strategy, layers, batch, sequence, width, heads):
    """Bytes a layer in units of s b h: the difference of two depths, so that embedding and head drop out."""

    def count(depth):
        dims = {"batch": batch, "sequence": sequence, "width": width, "heads": heads}
        program = build_program(case("transformer", strategy, depth=depth, layers=layers, dtype="bfloat16", **dims))
        state, data = program.eval_shapes()
        return count_residual_bytes(program.loss, state["params"], state["rest"], data)

    return (count(3) - count(2)) / (sequence * batch * width)


ROOMS = [("scan", 2, 16, 32, 4), ("scan", 3, 24, 16, 4), ("unroll", 3, 24, 16, 4)]


@pytest.mark.parametrize(("layers", "batch", "sequence", "width", "heads"), ROOMS)
@pytest.mark.parametrize("strategy", ROWS)
def test_residual_bytes_of_a_transformer_layer(strategy, layers, batch, sequence, width, heads):
    found = residuals_per_layer(strategy, layers, batch, sequence, width, heads)
    assert found == INPUT + ROWS[strategy](heads * sequence / width)


@pytest.mark.parametrize(("layers", "batch", "sequence", "width", "heads"), [*ROOMS, ("scan", 2, 16, 64, 8)])
def test_residual_bytes_of_a_transformer_layer_without_remat(layers, batch, sequence, width, heads):
    """Exact bytes of our layer with its input: s b h (84 + 4 a s/h), 32 + 4 a for each token (statistics of two norms
    and of the softmax) and 8 h (scales of the norms in float32). At h = 1024 the row is 84.2 + 4 a s/h.

    From jax 0.11.2 on gelu keeps one value of width 4 h fewer: 76 instead of 84.
    """
    linear = 84 if Version(jax.__version__) < TANH_READS_ITS_RESULT else 76
    found = residuals_per_layer("none", layers, batch, sequence, width, heads) * sequence * batch * width
    tokens = batch * sequence
    expected = tokens * width * linear + 4 * heads * sequence * tokens + tokens * (32 + 4 * heads) + 8 * width
    assert round(found, 6) == expected


def test_tags_inside_loops_branches_and_calls_count():
    def function(x):
        x = jax.checkpoint(lambda x: checkpoint_name(jnp.sin(x), "in remat"))(x)
        x = jax.lax.scan(lambda x, _: (checkpoint_name(x * 2, "in scan"), None), x, None, length=2)[0]
        x = jax.lax.cond(x[0, 0] > 0, lambda: checkpoint_name(x, "in a branch"), lambda: x)
        return jax.jit(lambda x: checkpoint_name(x, "in jit"))(x)

    assert find_tags(jax.make_jaxpr(function)(X)) == {"in remat", "in scan", "in a branch", "in jit"}


@pytest.mark.parametrize("model", ["mlp", "vae", "transformer"])
def test_the_models_table_lists_the_tags_that_a_model_attaches(model):
    from artifex_bench.models import MODELS

    program = build_program(case(model, depth=1))
    assert find_tags(jax.make_jaxpr(program.forward)(*program.eval_shapes())) == set(MODELS[model].tags)


def test_residuals_have_their_origin_and_sum_to_their_bytes():
    one = case("transformer", "save_only_these_names:probs+mlp_up", depth=2, layers="scan")
    program = build_program(one)
    state, data = program.eval_shapes()
    found = find_residuals(program.loss, state["params"], state["rest"], data)
    assert sum(residual.bytes for residual in found) == programs.traced(one).residual_bytes
    rows = [describe_residual(residual) for residual in found]
    probs = next(row for row in rows if row["name"] == "probs")
    assert (probs["scope"], probs["operation"], probs["shape"]) == ("layers/attention", "div", "[2,2,2,4,4]")
    assert probs["source"].startswith("models/transformer.py:")
    assert (probs["dtype"], probs["bytes"]) == ("float32", 2 * 2 * 2 * 4 * 4 * 4)
    assert {row["operation"] for row in rows if row["name"] == "mlp_up"} == {"dot_general"}
    assert any(row["operation"] == "carry of a loop" for row in rows)  # what enters each layer
