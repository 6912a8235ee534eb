"""A case as functions: the timed function, its arguments, and the gradients that are read from a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from artifex_bench.core.case import CaseError
from artifex_bench.core.versions import has_remat3
from artifex_bench.remat.measure import program as module
from artifex_bench.remat.measure.program import OPTIMIZERS, build_program, check_traced_tags
from tests.programs import by_parameter, case


class Layer(nnx.Module):
    def __init__(self, case, rngs):
        self.linear = nnx.Linear(case.width, case.width, rngs=rngs)

    def __call__(self, x):
        return jnp.tanh(self.linear(x))


class NamedLayer(Layer):
    def __call__(self, x):
        return checkpoint_name(super().__call__(x), "here")


class Doubled(nnx.Module):
    def __call__(self, x):
        return 2 * x


class Model(nnx.Module):
    def __init__(self, case, rngs):
        self.layers = self.stack(case, rngs)

    def stack(self, case, rngs):
        return nnx.List([Layer(case, rngs) for _ in range(case.depth)])

    def loss(self, batch, run):
        return jnp.mean(run("layers", batch) ** 2)

    @staticmethod
    def batch(case, key):
        return jax.random.normal(key, (case.batch, case.width))


class Differing(Model):
    def stack(self, case, rngs):
        return nnx.List([Layer(case, rngs), Doubled()])


class Named(Model):
    def stack(self, case, rngs):
        return nnx.List([NamedLayer(case, rngs) for _ in range(case.depth)])


class Bare(Model):
    def stack(self, case, rngs):
        return 3


@pytest.fixture
def own(monkeypatch):
    """Build the program of a case of the model class that is passed."""

    def make(model, **fields):
        monkeypatch.setattr(module, "load_model", lambda name: model)
        return build_program(case("tests:own", layers=fields.pop("layers", "scan"), **fields))

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradients_read_from_a_first_step_are_the_gradients(own, optimizer):
    program = own(Model, optimizer=optimizer)
    state, batch = program.make_arrays()
    loss, gradients = program.read_gradients(jax.jit(program.step)(state, batch))
    expected_loss, expected = jax.jit(program.gradient)(state, batch)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    mine, theirs = by_parameter(gradients), by_parameter(expected)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-7)


def test_a_step_moves_parameters_and_leaves_the_shapes(own):
    program = own(Model)
    state, batch = program.make_arrays()
    after, _ = jax.jit(program.step)(state, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert not np.array_equal(*(jax.tree.leaves(s["params"])[0] for s in (after, state)))


def test_shapes_alone_are_those_of_the_arrays(own):
    program = own(Model)
    real = jax.tree.map(lambda a: (a.shape, a.dtype), program.make_arrays())
    assert jax.tree.map(lambda a: (a.shape, a.dtype), program.eval_shapes()) == real


def test_the_seed_makes_the_arrays(own):
    first, again, other = (jax.tree.leaves(own(Model, seed=s).make_arrays()) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_gradient_alone_can_be_timed(own):
    program = own(Model, step="gradient")
    assert (program.timed, program.donated) == (program.gradient, ())
    assert (own(Model).timed.__name__, own(Model).donated) == ("step", (0,))


def test_layers_that_differ_can_be_unrolled_and_not_scanned(own):
    with pytest.raises(CaseError, match=r"'layers'.*unroll"):
        own(Differing).eval_shapes()
    program = own(Differing, layers="unroll")
    assert jnp.isfinite(program.forward(*program.make_arrays()))


def test_a_model_without_a_list_of_layers_is_refused(own):
    with pytest.raises(CaseError, match="attribute 'layers'"):
        own(Bare).eval_shapes()


def test_a_tag_that_the_model_does_not_define_is_refused(own):
    with pytest.raises(CaseError, match=r"'nowhere'.* here"):
        check_traced_tags(own(Named, strategy="save_only_these_names:nowhere"))
    check_traced_tags(own(Named, strategy="save_only_these_names:here"))


@pytest.mark.skipif(not has_remat3(), reason="needs jax 0.12 or later")
def test_tags_are_checked_under_remat3_too(own, choose_remat3):
    choose_remat3(True)
    with pytest.raises(CaseError, match=r"'nowhere'.* here"):
        check_traced_tags(own(Named, strategy="save_only_these_names:nowhere"))
    check_traced_tags(own(Named, strategy="save_only_these_names:here"))
