"""Tests for a process with eight CPU devices, which test_sharding.py starts. Pytest does not collect this file."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from artifex_bench import targets
from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.program import build_program
from artifex_bench.remat.measure.sharding import count_device_bytes
from tests.build import replaced
from tests.programs import by_parameter

DEVICES = jax.devices()
SMALL = {"depth": 2, "width": 32, "batch": 16, "sequence": 8, "heads": 4}
MIXED = "data=2,fsdp=2,tensor=2"


class Transposed(nnx.Module):
    """A model whose batch is not the first dimension of anything."""

    def __init__(self, case, rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs)])

    def loss(self, batch, run):
        return batch["x"].sum()

    @staticmethod
    def batch(case, key):
        return {"x": jax.numpy.ones((3, case.batch))}


def test_a_batch_that_cannot_be_split_is_refused(monkeypatch):
    monkeypatch.setattr("artifex_bench.remat.measure.program.load_model", lambda _: Transposed)
    case = RematCase(model="mlp", strategy="none", depth=1, width=4, batch=8, mesh="data=8", sequence=None, heads=None)
    with pytest.raises(CaseError, match="its batch has its size, 8,"):
        build_program(case, DEVICES).eval_shapes()


def test_there_are_eight_devices():
    assert len(DEVICES) == 8


@functools.cache
def stepped(case):
    """Return (compiled, loss, gradients, shardings of the state, result) of a first step."""
    target = targets.load_target("local")
    program = build_program(case, target.devices)
    compiled = compile_step(program, target)
    state, batch = program.make_arrays()
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    result = compiled.step(state, batch)
    loss, gradients = program.read_gradients(result)
    return compiled, float(loss), by_parameter(gradients), shardings, result


@pytest.mark.parametrize(
    ("model", "fields", "mesh"),
    [
        *(("transformer", {"strategy": "all"}, mesh) for mesh in ("data=8", "fsdp=8", "tensor=4", MIXED)),
        ("transformer", {"strategy": "every-2", "step": "gradient"}, "data=4,fsdp=2"),
        ("mlp", {"layers": "unroll", "optimizer": "sgd"}, MIXED),
        ("vae", {"strategy": "segments-2"}, MIXED),
        ("examples.gated:Gated", {}, "data=2,fsdp=4"),
    ],
)
def test_loss_and_gradients_are_those_of_one_device(model, fields, mesh):
    one = RematCase(model=model, **{**SMALL, **fields})
    _, loss, gradients, _, _ = stepped(one)
    _, sharded_loss, sharded, _, _ = stepped(replaced(one, mesh=mesh))
    assert sharded_loss == pytest.approx(loss, rel=1e-5)
    assert sharded.keys() == gradients.keys()
    for name, expected in gradients.items():
        np.testing.assert_allclose(sharded[name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("mesh", ["fsdp=8", MIXED])
def test_the_new_state_has_the_shardings_of_the_old_and_can_be_stepped_again(mesh):
    case = RematCase(model="transformer", strategy="all", mesh=mesh, **SMALL)
    compiled, loss, _, shardings, (state, _) = stepped(case)
    for old, new in zip(jax.tree.leaves(shardings), jax.tree.leaves(state), strict=True):
        assert new.sharding.is_equivalent_to(old, new.ndim)
    again = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf), leaf.sharding), state["params"])
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(again))
    batch = build_program(case, DEVICES).make_arrays()[1]
    assert float(compiled.step(jax.tree.map(jax.numpy.copy, state), batch)[1]) < loss


@pytest.mark.parametrize("mesh", ["data=8", "fsdp=8", "tensor=4", MIXED])
def test_figures_of_the_compiler_are_those_of_one_device(mesh):
    """The arguments are one device's part of state and batch. At these shapes, peak and FLOPs are much smaller."""
    case = RematCase(model="transformer", strategy="all", mesh=mesh, **SMALL)
    compiled, part = stepped(case)[0], count_device_bytes(build_program(case, DEVICES).eval_shapes())
    assert compiled.parts["argument_bytes"] == pytest.approx(part, rel=0.01)
    whole = stepped(replaced(case, mesh=None))[0]
    assert compiled.peak < 0.6 * whole.peak and compiled.flops < 0.6 * whole.flops


def test_each_axis_splits_what_it_should():
    case = RematCase(model="transformer", mesh=MIXED, **SMALL)
    state, batch = build_program(case, DEVICES).eval_shapes()

    def specs(tree):
        """Return {parameter: its partition}. Both moments of an optimizer have the same."""
        found = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = ".".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))
            assert found.setdefault(name, leaf.sharding.spec) == leaf.sharding.spec
        return found

    params = specs(state["params"])
    assert params["stacks.layers.query.kernel"] == P(None, "fsdp", "tensor")  # axis 0 counts layers
    assert params["stacks.layers.out.kernel"] == P(None, "tensor", "fsdp")
    assert params["stacks.layers.up.kernel"] == P(None, "fsdp", "tensor")
    assert params["stacks.layers.down.kernel"] == P(None, "tensor", "fsdp")
    assert params["stacks.layers.norm1.scale"] == P(None, "fsdp")
    assert params["model.head.kernel"] == P("fsdp", "tensor")
    assert params["model.tokens.embedding"] == P("fsdp", None)
    assert specs(state["optimizer"]) == {**params, "": P()}  # the optimizer also has a count
    assert set(specs(state["rest"]).values()) <= {P()}
    assert specs(batch)["tokens"] == P(("data", "fsdp"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"mesh": "data=16"}, "'data=16'.* 16 devices.* 8"),
        (
            {"model": "mlp", "width": 30, "mesh": "tensor=4"},
            r"layers.linear.\w+, 30, .* tensor=4",
        ),
        ({"model": "examples.gated:Gated", "mesh": "tensor=2"}, "'examples.gated:Gated'.* tensor = "),
    ],
)
def test_the_error_of_a_mesh_that_does_not_fit_has_the_sizes(fields, problem):
    with pytest.raises(CaseError, match=problem):
        build_program(RematCase(**{**SMALL, **fields}), DEVICES).eval_shapes()
