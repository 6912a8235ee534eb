"""The origins of buffers, from the paths and lines in a program's metadata."""

from __future__ import annotations

import jax
import pytest
from packaging.version import Version

from artifex_bench.core.versions import TANH_READS_ITS_RESULT
from artifex_bench.memory_profile.attribution import UNKNOWN, OriginFinder, find_user_line, name_argument, split_path
from tests.memory_profile.test_buffer_assignment import compiled_assignment
from tests.programs import case

PATHS = [
    ("", ("", "", UNKNOWN)),
    ("jit(step)/mul", ("", "mul", "step")),
    ("jit(step)/jvp(layers)/while/body/closed_call/attention/exp", ("layers/attention", "exp", "forward")),
    ("jit(step)/transpose(jvp(layers))/while/body/closed_call/mlp/add_any", ("layers/mlp", "add_any", "backward")),
    (
        "jit(step)/transpose(jvp(layers))/while/body/closed_call/checkpoint/rematted_computation/mlp/tanh",
        ("layers/mlp", "tanh", "recomputed"),
    ),
    ("jit(step)/transpose(jvp(jvp(layers)))/checkpoint/layers/mlp/mul", ("layers/mlp", "mul", "backward")),
    ("jit(step)/jvp(layers/attention)/jit(softmax)/max", ("layers/attention", "max", "forward")),
    ("jit(step)/transpose(jvp(layers))/while", ("layers", "", "backward")),
    ("jit(step)/jvp()/mul;jit(step)/transpose(jvp(layers))/neg", ("layers", "neg", "backward")),
    ("jit(step)/jvp(jit(take))", ("", "", "forward")),
    ("jit(f)/jvp()/BSHK,BTHK->BHST/dot_general", ("BSHK,BTHK->BHST", "dot_general", "forward")),
]


@pytest.mark.parametrize(("path", "parts"), PATHS)
def test_a_path_is_scope_operation_and_pass(path, parts):
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("frames", "line"),
    [
        ((), ""),
        (
            (("/x/site-packages/flax/nnx/linear.py", 3), ("/home/me/model.py", 7), ("/home/me/run.py", 9)),
            "me/model.py:7",
        ),
        ((("/x/site-packages/jax/_src/lax.py", 3), ("/x/site-packages/optax/losses.py", 5)), "optax/losses.py:5"),
        ((("/x/site-packages/jax/_src/lax.py", 3), ("/x/artifex_bench/remat/measure/program.py", 5)), ""),
    ],
)
def test_a_line_is_the_users_own_before_a_librarys(frames, line):
    assert find_user_line(frames) == line


# before, gelu's tanh has a buffer of its own; later, its derivative reads its result
TANH = Version(jax.__version__) < TANH_READS_ITS_RESULT


def origins(one):
    """The origins of all values in the temporaries."""
    assignment = compiled_assignment(one)
    finder = OriginFinder(assignment)
    temporaries = (a for a in assignment.allocations if a.kind == "temporary")
    return [finder.find_origin(part.value) for a in temporaries for part in a.slices]


def test_a_value_that_a_scan_stacks_is_named_by_its_producer():
    found = origins(case("transformer", "none", layers="scan", depth=2))
    stacked = {(one.scope, one.operation, one.source.rpartition(":")[0]) for one in found if "stacked" in one.operation}
    of_mlp = ("layers/mlp", "tanh" if TANH else "mul")
    for scope, operation in (of_mlp, ("layers/attention", "exp"), ("layers/mlp", "dot_general")):
        assert (scope, f"{operation}, stacked", "models/transformer.py") in stacked


def test_recomputed_buffers_have_a_pass_of_their_own():
    found = origins(case("transformer", "all", layers="unroll", depth=2))
    assert {"forward", "backward", "recomputed", "step"} <= {one.phase for one in found}
    again = {one.operation for one in found if one.phase == "recomputed" and one.scope == "layers/mlp"}
    assert again >= {"tanh" if TANH else "mul"}


def test_scopes_contain_no_calls_of_jax_itself():
    """jax 0.12 puts `eval_jaxpr` between them."""
    found = origins(case("transformer", "all", layers="scan", depth=2))
    scopes = {name for one in found for name in one.scope.split("/") if one.scope}
    assert scopes <= {"layers", "attention", "mlp", "BHST,BTHK->BSHK", "BSHK,BTHK->BHST"}


def test_arguments_are_named_by_their_path_in_the_state():
    found = compiled_assignment(case("mlp", "none", layers="scan"))
    parameters = (one for one in found.instructions.values() if one.opcode == "parameter" and "[" in one.operation)
    names = set(map(name_argument, parameters))
    assert {"params.stacks.layers.linear.kernel", "optimizer.0.mu.stacks.layers.linear.bias", "batch.x"} <= names
