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
from artifex_bench.models import load
from artifex_bench.remat.apply import run_stack
from artifex_bench.remat.measure.jaxprs import tags
from artifex_bench.remat.measure.sharding import Layout, layout
from artifex_bench.remat.strategies import Plan, check_names, check_part, parse

Arrays = Any  # a pytree of arrays, or of their shapes

# name -> the optimizer, its moment that holds the gradients after one step, and the share of them that it holds
OPTIMIZERS: dict[str, tuple[optax.GradientTransformation, str, float]] = {
    "adam": (optax.adam(1e-3, b1=0.9), "mu", 0.1),
    "adamw": (optax.adamw(1e-3, b1=0.9), "mu", 0.1),
    "sgd": (optax.sgd(1e-3, momentum=0.9), "trace", 1.0),
}


@dataclass(frozen=True)
class Program:
    """Functions of `(state, batch)`, where state is `{"params", "optimizer", "rest"}`.

    `step` returns (state, loss) and may take its state by donation; `gradient` returns (loss, gradients of the
    parameters); `forward` returns the loss. `initialize()` makes (state, batch) from the case's seed. `timed` is
    the one of them that the case measures, and `donated` the positions of the arguments it takes by donation.
    `arrays` makes what `initialize` does, before the `layout` of a mesh (None: one device) puts it in its places.
    """

    case: RematCase
    plan: Plan
    loss: Callable[[Arrays, Arrays, Arrays], jax.Array]
    optimizer: optax.GradientTransformation
    arrays: Callable[[], tuple[Arrays, Arrays]]
    layout: Layout | None = None

    def forward(self, state: Arrays, batch: Arrays) -> jax.Array:
        return self.loss(state["params"], state["rest"], batch)

    def gradient(self, state: Arrays, batch: Arrays) -> tuple[jax.Array, Arrays]:
        return jax.value_and_grad(self.loss)(state["params"], state["rest"], batch)

    def step(self, state: Arrays, batch: Arrays) -> tuple[Arrays, jax.Array]:
        loss, gradients = self.gradient(state, batch)
        updates, optimizer = self.optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {**state, "params": params, "optimizer": optimizer}, loss

    @property
    def timed(self) -> Callable[[Arrays, Arrays], Any]:
        return self.step if self.case.step == "train" else self.gradient

    @property
    def donated(self) -> tuple[int, ...]:
        return (0,) if self.case.step == "train" else ()

    def loss_and_gradients(self, result: Any) -> tuple[jax.Array, Arrays]:
        """Loss and gradients from the result of a first timed step: of a training step, its optimizer has them.

        A moment that starts at zero is, after one step, a known multiple of the gradients: so the gradients of
        the very program that is timed are seen, without another output that would change its memory.
        """
        if self.case.step == "gradient":
            return result
        state, loss = result
        _, moment, share = OPTIMIZERS[self.case.optimizer]
        gradients = optax.tree_utils.tree_get(state["optimizer"], moment)
        return loss, jax.tree.map(lambda m: np.asarray(m) / share, gradients)

    def initialize(self) -> tuple[Arrays, Arrays]:
        """(state, batch) as arrays; those of a mesh are made in host memory, so that no device ever holds the whole."""
        if self.layout is None:
            return self.arrays()
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            arrays = self.arrays()
        return self.layout.place(arrays)

    def abstract(self) -> tuple[Arrays, Arrays]:
        """(state, batch) as shapes, on their devices where there is a mesh."""
        shapes = jax.eval_shape(self.arrays)
        return shapes if self.layout is None else self.layout.place(shapes)

    def narrow_dtypes(self, state: Arrays) -> set[str]:
        """The floating-point dtypes of less than 32 bits that the program computes in, from arrays or their shapes."""
        parameters = {str(leaf.dtype) for leaf in jax.tree.leaves(state["params"])}
        return {"bfloat16", "float16"} & {self.case.dtype, *parameters}

    def jitted(self) -> Any:
        """`timed` under jit; on a mesh what it returns lies as what it was given."""
        results = None if self.layout is None else self.layout.results(self.abstract()[0])
        return jax.jit(self.timed, donate_argnums=self.donated, out_shardings=results)


def build(case: RematCase, devices: Sequence[Any] = ()) -> Program:
    """The program of a case, over its mesh of the `devices` where it has one.

    Raises CaseError when the model does not keep to the protocol, or does not fit the mesh.
    """
    model_class = load(case.model)
    plan = parse(case.strategy, case.depth)
    over = layout(case, devices) if case.mesh else None
    optimizer = OPTIMIZERS[case.optimizer][0]

    def arrays() -> tuple[Arrays, Arrays]:
        model = model_class(case, _rngs(jax.random.key(case.seed, impl="rbg")))
        stacks = {name: _take_stack(model, name, case) for name in getattr(model_class, "stacks", ("layers",))}
        graph, model_params, model_rest = _split(model)
        params = {"model": model_params, "stacks": {name: stack[0] for name, stack in stacks.items()}}
        rest = {"model": (graph, model_rest), "stacks": {name: stack[1] for name, stack in stacks.items()}}
        moments = jax.jit(optimizer.init)(params) if case.step == "train" else {}
        state = {"params": params, "optimizer": moments, "rest": rest}
        return state, model_class.batch(case, jax.random.key(case.seed + 1, impl="rbg"))

    def loss(params: Arrays, rest: Arrays, batch: Arrays) -> jax.Array:
        def run(name: str, x: Any) -> Any:
            with jax.named_scope(name):  # so that profiles can tell the stacks, and the parts of layers, apart
                return _run(params["stacks"][name], rest["stacks"][name], x, plan, over.hold if over else _as_it_is)

        graph, model_rest = rest["model"]
        return nnx.merge(graph, params["model"], model_rest).loss(batch, run)

    return Program(case, plan, loss, optimizer, arrays, over)


def _as_it_is(x: Any) -> Any:
    return x


class _Stream(nnx.RngStream):
    """A stream that counts its keys in a plain number.

    nnx counts them in an array. Tracing then compares that array's sharding at every key, for which JAX writes out an
    error message over the whole program so far: of a deep model's build that took most of the time.
    """

    drawn = 0

    def __call__(self) -> jax.Array:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        return key


def _rngs(key: jax.Array) -> nnx.Rngs:
    rngs = nnx.Rngs()
    setattr(rngs, "default", _Stream(key, tag="default"))  # noqa: B010 - given to it, it would become a plain stream
    return rngs


def _take_stack(model: Any, name: str, case: RematCase) -> tuple[Arrays, Arrays]:
    """The layers of that attribute, taken out of the model, as (parameters, (graph, rest)).

    A list of them for unrolled layers; for a scan each array is stacked on axis 0.
    """
    found = getattr(model, name, None)
    layers = list(found) if isinstance(found, Iterable) else []
    if not layers:
        raise CaseError(f"model {case.model!r}: its attribute {name!r} must be a list of layers")
    part = parse(case.strategy, case.depth).part
    if part is not None:
        check_part(case, part, tuple(_parts(layers[0])))
    delattr(model, name)
    graphs, params, rests = zip(*(_split(layer) for layer in layers), strict=True)
    if case.layers == "unroll":
        return list(params), list(zip(graphs, rests, strict=True))
    if any(graph != graphs[0] for graph in graphs[1:]):
        raise CaseError(f"model {case.model!r}: the layers of {name!r} differ and cannot be scanned: use unroll")
    return _stacked(params), (graphs[0], _stacked(rests))


def _split(module: Any) -> Any:
    """(graph, parameters, rest)."""
    return nnx.split(module, nnx.Param, ...)


def _stacked(states: tuple[Arrays, ...]) -> Arrays:
    return jax.jit(lambda *states: jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *states))(*states)


def _parts(layer: Any) -> dict[str, Callable[[Any], Any]]:
    return layer.parts() if hasattr(layer, "parts") else {"layer": layer}


def _run(params: Arrays, rest: Arrays, x: Any, plan: Plan, hold: Callable[[Any], Any]) -> Any:
    """x after a stack's layers, each run part by part, so that every strategy runs the same operations.

    `hold` puts x in its place on a mesh before each part.
    """

    def merged(state: Arrays) -> dict[str, Callable[[Any], Any]]:
        params, (graph, rest) = state
        return _parts(nnx.merge(graph, params, rest))

    def part(name: str) -> Callable[[Arrays, Any], Any]:
        def scoped(state: Arrays, x: Any) -> Any:
            with jax.named_scope(name):
                return merged(state)[name](hold(x))

        return scoped

    unrolled = isinstance(params, list)
    stack = list(zip(params, rest, strict=True)) if unrolled else (params, rest)
    first = stack[0] if unrolled else jax.tree.map(lambda a: a[0], stack)
    parts = {name: part(name) for name in merged(first)}
    depth = len(stack) if unrolled else len(jax.tree.leaves(stack)[0])
    return run_stack(parts, stack, x, depth, plan)


def check_tags(program: Program) -> None:
    """Raise CaseError when the strategy's policy mentions a name that the traced model never attaches.

    Names are read from the forward pass: under JAX_REMAT3 a gradient holds none.
    """
    if program.plan.policy is not None and program.plan.policy.all_names():
        forward = jax.make_jaxpr(program.forward)(*program.abstract())
        check_names(program.case, program.plan.policy, tuple(sorted(tags(forward))))
