"""A case as functions: what is timed, what it takes, and how gradients are read off a step."""

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
from artifex_bench.remat.measure.program import OPTIMIZERS, build, check_tags
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
    """A case of a model class that is handed over."""

    def make(model, **fields):
        monkeypatch.setattr(module, "load", lambda name: model)
        return build(case("tests:own", layers=fields.pop("layers", "scan"), **fields))

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradients_read_off_a_first_step_are_the_gradients(own, optimizer):
    program = own(Model, optimizer=optimizer)
    state, batch = program.initialize()
    loss, gradients = program.loss_and_gradients(jax.jit(program.step)(state, batch))
    expected_loss, expected = jax.jit(program.gradient)(state, batch)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    mine, theirs = by_parameter(gradients), by_parameter(expected)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-7)


def test_a_step_moves_parameters_and_leaves_the_shapes(own):
    program = own(Model)
    state, batch = program.initialize()
    after, _ = jax.jit(program.step)(state, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert not np.array_equal(*(jax.tree.leaves(s["params"])[0] for s in (after, state)))


def test_shapes_alone_are_those_of_the_arrays(own):
    program = own(Model)
    real = jax.tree.map(lambda a: (a.shape, a.dtype), program.initialize())
    assert jax.tree.map(lambda a: (a.shape, a.dtype), program.abstract()) == real


def test_the_seed_makes_the_arrays(own):
    first, again, other = (jax.tree.leaves(own(Model, seed=s).initialize()) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_gradient_alone_can_be_what_is_timed(own):
    program = own(Model, step="gradient")
    assert (program.timed, program.donated) == (program.gradient, ())
    assert (own(Model).timed.__name__, own(Model).donated) == ("step", (0,))


def test_layers_that_differ_can_be_unrolled_and_not_scanned(own):
    with pytest.raises(CaseError, match="the layers of 'layers' differ and cannot be scanned: use unroll"):
        own(Differing).abstract()
    program = own(Differing, layers="unroll")
    assert jnp.isfinite(program.forward(*program.initialize()))


def test_a_model_without_a_list_of_layers_is_refused(own):
    with pytest.raises(CaseError, match="its attribute 'layers' must be a list of layers"):
        own(Bare).abstract()


def test_a_name_that_is_never_attached_is_refused(own):
    with pytest.raises(CaseError, match="'nowhere': its names are here"):
        check_tags(own(Named, strategy="save_only_these_names:nowhere"))
    check_tags(own(Named, strategy="save_only_these_names:here"))


@pytest.mark.skipif(not has_remat3(), reason="needs jax 0.12 or later")
def test_names_are_found_under_remat3_too(own, choose_remat3):
    choose_remat3(True)
    with pytest.raises(CaseError, match="'nowhere': its names are here"):
        check_tags(own(Named, strategy="save_only_these_names:nowhere"))
    check_tags(own(Named, strategy="save_only_these_names:here"))
