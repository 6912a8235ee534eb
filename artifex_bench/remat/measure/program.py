"""A case as functions to compile: training step, gradient, forward pass, and the arrays they take.

The model is split into graph (static) and arrays, so that one function builds both real arrays and, under
`jax.eval_shape`, only their shapes: a program is traced and compiled before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.core.convert import suggest_choice
from artifex_bench.models import load_model
from artifex_bench.remat.apply import run_stack
from artifex_bench.remat.case_checks import check_part, check_tags
from artifex_bench.remat.measure.jaxprs import find_tags
from artifex_bench.remat.measure.sharding import Layout, make_layout
from artifex_bench.remat.strategies import Plan, parse_strategy

Arrays = Any  # a pytree of arrays, or of their shapes

# name -> the optimizer, its moment that holds the gradients after one step, and the share of them that it holds
OPTIMIZERS: dict[str, tuple[optax.GradientTransformation, str, float]] = {
    "adam": (optax.adam(1e-3, b1=0.9), "mu", 0.1),
    "adamw": (optax.adamw(1e-3, b1=0.9), "mu", 0.1),
    "sgd": (optax.sgd(1e-3, momentum=0.9), "trace", 1.0),
}


@dataclass(frozen=True)
class Program:
    """A training step with its arguments: a state ``{"params", "optimizer", "rest"}`` and a batch.

    Attributes:
        case: The case.
        plan: How its layers are rematerialized.
        loss: ``loss(params, rest, batch)``, a scalar.
        optimizer: The optimizer.
        make_unplaced: Returns (state, batch) from the case's seed, before they are placed on a mesh.
        layout: The case's mesh, or None for one device.
    """

    case: RematCase
    plan: Plan
    loss: Callable[[Arrays, Arrays, Arrays], jax.Array]
    optimizer: optax.GradientTransformation
    make_unplaced: Callable[[], tuple[Arrays, Arrays]]
    layout: Layout | None = None

    def forward(self, state: Arrays, batch: Arrays) -> jax.Array:
        """Return the loss."""
        return self.loss(state["params"], state["rest"], batch)

    def gradient(self, state: Arrays, batch: Arrays) -> tuple[jax.Array, Arrays]:
        """Return the loss and the gradients of the parameters."""
        return jax.value_and_grad(self.loss)(state["params"], state["rest"], batch)

    def step(self, state: Arrays, batch: Arrays) -> tuple[Arrays, jax.Array]:
        """Return the state after one training step, and the loss before it."""
        loss, gradients = self.gradient(state, batch)
        updates, optimizer = self.optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {**state, "params": params, "optimizer": optimizer}, loss

    @property
    def timed(self) -> Callable[[Arrays, Arrays], Any]:
        """The function that the case measures: `step` or `gradient`."""
        return self.step if self.case.step == "train" else self.gradient

    @property
    def donated(self) -> tuple[int, ...]:
        """Positions of the arguments that `timed` takes by donation."""
        return (0,) if self.case.step == "train" else ()

    def read_gradients(self, result: Any) -> tuple[jax.Array, Arrays]:
        """Return loss and gradients from the result of a first timed step.

        A moment of the optimizer that starts at zero is, after one step, a known multiple of the gradients. They are
        therefore those of the very program that is timed, without another output that would change its memory.
        """
        if self.case.step == "gradient":
            return result
        state, loss = result
        _, moment, share = OPTIMIZERS[self.case.optimizer]
        gradients = optax.tree_utils.tree_get(state["optimizer"], moment)
        return loss, jax.tree.map(lambda m: np.asarray(m) / share, gradients)

    def make_arrays(self) -> tuple[Arrays, Arrays]:
        """Return (state, batch) as arrays. Those of a mesh are made in host memory, so that no device holds them whole.

        Raises:
            CaseError: The model breaks the protocol, or does not fit the mesh.
        """
        if self.layout is None:
            return self.make_unplaced()
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            arrays = self.make_unplaced()
        return self.layout.place_arrays(arrays)

    def eval_shapes(self) -> tuple[Arrays, Arrays]:
        """Return (state, batch) as `jax.ShapeDtypeStruct`, with their shardings on a mesh. Raises as `make_arrays`."""
        shapes = jax.eval_shape(self.make_unplaced)
        return shapes if self.layout is None else self.layout.place_arrays(shapes)

    def find_narrow_dtypes(self, state: Arrays) -> set[str]:
        """Return the floating-point dtypes of less than 32 bits that the program computes in."""
        parameters = {str(leaf.dtype) for leaf in jax.tree.leaves(state["params"])}
        return {"bfloat16", "float16"} & {self.case.dtype, *parameters}

    def jit_timed(self) -> Any:
        """Return `timed` under jit. On a mesh its results have the shardings of the state."""
        results = None if self.layout is None else self.layout.find_result_shardings(self.eval_shapes()[0])
        return jax.jit(self.timed, donate_argnums=self.donated, out_shardings=results)


def build_program(case: RematCase, devices: Sequence[Any] = ()) -> Program:
    """Build the program of a case.

    Args:
        case: The case.
        devices: Devices for its mesh, if it has one.

    Returns:
        The program. Nothing is allocated, and the model is not built yet.

    Raises:
        CaseError: The model cannot be imported, or there are too few devices.
    """
    model_class = load_model(case.model)
    plan = parse_strategy(case.strategy, case.depth)
    layout = make_layout(case, devices) if case.mesh else None
    constrain = layout.constrain_activations if layout else lambda x: x
    optimizer = OPTIMIZERS[case.optimizer][0]

    def make_unplaced() -> tuple[Arrays, Arrays]:
        model = model_class(case, _make_rngs(jax.random.key(case.seed, impl="rbg")))
        stacks = {name: _take_stack(model, name, case) for name in getattr(model_class, "stacks", ("layers",))}
        graph, model_params, model_rest = _split_module(model)
        params = {"model": model_params, "stacks": {name: stack[0] for name, stack in stacks.items()}}
        rest = {"model": (graph, model_rest), "stacks": {name: stack[1] for name, stack in stacks.items()}}
        moments = jax.jit(optimizer.init)(params) if case.step == "train" else {}
        state = {"params": params, "optimizer": moments, "rest": rest}
        return state, model_class.batch(case, jax.random.key(case.seed + 1, impl="rbg"))

    def loss(params: Arrays, rest: Arrays, batch: Arrays) -> jax.Array:
        def run(name: str, x: Any) -> Any:
            if name not in params["stacks"]:
                raise CaseError(f"run({name!r}): unknown stack: {suggest_choice(name, params['stacks'])}")
            with jax.named_scope(name):  # so that profiles can tell the stacks, and the parts of layers, apart
                return _run_layers(params["stacks"][name], rest["stacks"][name], x, plan, constrain)

        graph, model_rest = rest["model"]
        return nnx.merge(graph, params["model"], model_rest).loss(batch, run)

    return Program(case, plan, loss, optimizer, make_unplaced, layout)


class _Stream(nnx.RngStream):
    """A stream that counts its keys in a plain number.

    nnx counts them in an array. Tracing then compares that array's sharding at every key, for which JAX writes an error
    message with the whole program so far. That took most of the time to build a deep model.
    """

    drawn = 0

    def __call__(self) -> jax.Array:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        return key


def _make_rngs(key: jax.Array) -> nnx.Rngs:
    rngs = nnx.Rngs()
    setattr(rngs, "default", _Stream(key, tag="default"))  # noqa: B010 - as an argument it becomes a plain stream
    return rngs


def _take_stack(model: Any, name: str, case: RematCase) -> tuple[Arrays, Arrays]:
    """Take the layers of an attribute out of the model.

    Returns:
        (parameters, (graph, rest)): with scanned layers each array is stacked on axis 0. With unrolled layers, a list
        of parameters and a list of (graph, rest).
    """
    attribute = getattr(model, name, None)
    layers = list(attribute) if isinstance(attribute, Iterable) else []
    if not layers:
        raise CaseError(f"model {case.model!r}: its attribute {name!r} must be a list of layers")
    part = parse_strategy(case.strategy, case.depth).part
    if part is not None:
        check_part(case, part, tuple(_list_parts(layers[0])))
    delattr(model, name)
    graphs, params, rests = zip(*(_split_module(layer) for layer in layers), strict=True)
    if case.layers == "unroll":
        return list(params), list(zip(graphs, rests, strict=True))
    if any(graph != graphs[0] for graph in graphs[1:]):
        raise CaseError(f"model {case.model!r}: the layers of {name!r} differ and cannot be scanned: use unroll")
    return _stack_states(params), (graphs[0], _stack_states(rests))


def _split_module(module: Any) -> Any:
    """Return (graph, parameters, rest)."""
    return nnx.split(module, nnx.Param, ...)


def _stack_states(states: tuple[Arrays, ...]) -> Arrays:
    return jax.jit(lambda *states: jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *states))(*states)


def _list_parts(layer: Any) -> dict[str, Callable[[Any], Any]]:
    return layer.parts() if hasattr(layer, "parts") else {"layer": layer}


def _run_layers(params: Arrays, rest: Arrays, x: Any, plan: Plan, constrain: Callable[[Any], Any]) -> Any:
    """Run a stack's layers part by part, so that every strategy runs the same operations.

    Before each part, `constrain` shards x on a mesh.
    """

    def merge_parts(state: Arrays) -> dict[str, Callable[[Any], Any]]:
        params, (graph, rest) = state
        return _list_parts(nnx.merge(graph, params, rest))

    def make_part(name: str) -> Callable[[Arrays, Any], Any]:
        def run_part(state: Arrays, x: Any) -> Any:
            with jax.named_scope(name):
                return merge_parts(state)[name](constrain(x))

        return run_part

    unrolled = isinstance(params, list)
    stack = list(zip(params, rest, strict=True)) if unrolled else (params, rest)
    first = stack[0] if unrolled else jax.tree.map(lambda a: a[0], stack)
    parts = {name: make_part(name) for name in merge_parts(first)}
    depth = len(stack) if unrolled else len(jax.tree.leaves(stack)[0])
    return run_stack(parts, stack, x, depth, plan)


def check_traced_tags(program: Program) -> None:
    """Raise CaseError if the strategy's policy names a tag that the traced model does not define.

    Tags are read from the forward pass, because a gradient under JAX_REMAT3 has none.
    """
    if program.plan.policy is not None and program.plan.policy.find_names():
        forward = jax.make_jaxpr(program.forward)(*program.eval_shapes())
        check_tags(program.case, program.plan.policy, tuple(sorted(find_tags(forward))))
