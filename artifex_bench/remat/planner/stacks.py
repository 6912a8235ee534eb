"""Any function as stacks of layers, found in its trace, and run again with each layer under a choice.

A layer is the body of a scan, or a call under `jax.checkpoint` (`nnx.remat`); calls whose programs are alike are a
stack. A function that has neither is a layer itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artifex_bench.compat import PreventCse, checkpoint_call, classic_remat, scan_inputs
from artifex_bench.remat.apply import resolve
from artifex_bench.remat.planner.blocks import fused, scan
from artifex_bench.remat.planner.candidates import Function, Seen, saving
from artifex_bench.remat.planner.flat import Flat, Ref, flatten
from artifex_bench.remat.planner.size import BudgetError
from artifex_bench.remat.strategies import Plan, Policy


@dataclass(frozen=True)
class Fine:
    """Save the values of those names (see `candidates`), some of them on the host, and compute the others again."""

    names: frozenset[str]
    on_host: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plain:
    """No rematerialization."""


Told = Callable[[str, int | None, str, Flat], None]
Choice = Fine | Plain | Policy | Plan  # a plan: layers in blocks, each whole or not at all
Groups = tuple[tuple[int, Choice], ...]  # so many layers under that choice, in the order in which they run

WHOLE = "function"  # the name of the only stack where there are no layers
AGAIN = Policy("nothing_saveable")


@dataclass(frozen=True)
class Stack:
    """Layers of one kind. `carried_bytes`: what a layer hands to the next (0: layers cannot be taken in blocks).
    `slice_bytes`: what a scan takes apart layer by layer, and must copy when it is split. `at`: where in the program
    its layers are, each call or the scan. `kept`: results that other layers keep as their inputs.
    """

    name: str
    depth: int
    carried_bytes: int = 0
    slice_bytes: int = 0
    at: tuple[int, ...] = (0,)
    kept: tuple[int, ...] = ()


def untold(stack: str, layer: int | None, prefix: str, derivative: Flat) -> None:
    """For those who do not want to know."""


def stacks_of(function: Callable[..., Any], *args: Any) -> tuple[Stack, ...]:
    """The stacks of a function at those arguments (arrays, or shapes)."""
    with classic_remat():
        flat = flatten(jax.make_jaxpr(function)(*args), checkpoints=True)
    layers = _layers(flat)
    positions: dict[str, list[int]] = {}
    for index, name in layers.items():
        positions.setdefault(name, []).append(index)
    return tuple(_stack(flat, name, at, layers) for name, at in positions.items()) or (Stack(WHOLE, 1),)


def _stack(flat: Flat, name: str, at: list[int], layers: Mapping[int, str]) -> Stack:
    eqn = flat.ops[at[0]].eqn
    if name.startswith("scan"):
        consts, carries = scan_inputs(eqn.params)
        carried, sliced = eqn.outvars[:carries], eqn.invars[consts + carries :]
        return Stack(name, eqn.params["length"], sum(map(_bytes, carried)), sum(map(_bytes, sliced)), tuple(at))
    alone = all(layers.get(index, name) == name for index in range(at[0], at[-1]))
    calls = [index for index, of in layers.items() if not of.startswith("scan")]
    inputs = {atom for index in calls for atom in flat.ops[index].ins if isinstance(atom, Ref)}
    readers = [i for i in at if i != max(layers)] or at
    kept = [out for out in range(len(eqn.outvars)) if all(Ref(index, out) in inputs for index in readers)]
    return Stack(name, len(at), sum(map(_bytes, eqn.outvars)) if alone else 0, 0, tuple(at), tuple(kept))


def _bytes(var: Any) -> int:
    return int(var.aval.size) * int(getattr(var.aval.dtype, "itemsize", 0))


def _layers(flat: Flat) -> dict[int, str]:
    """{index of an operation: the stack that it is (a scan), or is a layer of}."""
    found: dict[int, str] = {}
    kinds: dict[str, str] = {}
    scans = 0
    for index, op in enumerate(flat.ops):
        if op.eqn.primitive.name == "scan":
            scans += 1
            found[index] = f"scan-{scans}"
        elif (call := checkpoint_call(op.eqn)) is not None:
            found[index] = kinds.setdefault(str(call.program), f"calls-{len(kinds) + 1}")
    return found


def split(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what is arrays alone, the rest) of arguments by keyword."""
    kinds = jax.Array | np.ndarray | jax.ShapeDtypeStruct
    arrays = {k: v for k, v in keywords.items() if all(isinstance(leaf, kinds) for leaf in jax.tree.leaves(v))}
    return arrays, {k: v for k, v in keywords.items() if k not in arrays}


def planned(function: Callable[..., Any], groups: Mapping[str, Groups], told: Told = untold) -> Callable[..., Any]:
    """The function, with every stack's layers under the choices of `groups`; its values and gradients are the same.

    It is traced anew at each call (so put it under `jit`), and takes whatever the function takes, as long as that has
    the same layers (else BudgetError); arguments by keyword are passed on as they are. `told` is called with each
    layer's derivative as it is traced: the stack's name, the layer's number in it (None: a scan's, which are one), the
    prefix of names, the derivative.
    """

    def run(*args: Any, **keywords: Any) -> Any:
        with classic_remat():
            return under_choices(*args, **keywords)

    def under_choices(*args: Any, **keywords: Any) -> Any:
        arrays, fixed = split(keywords)

        def positional(args: Sequence[Any], arrays: Mapping[str, Any]) -> Any:
            return function(*args, **fixed, **arrays)

        closed, shape = jax.make_jaxpr(positional, return_shape=True)(args, arrays)
        leaves = jax.tree.leaves((args, arrays))
        if WHOLE in groups:
            ((_, choice),) = groups[WHOLE]
            outs = _layer(flatten(closed), choice, True, partial(told, WHOLE, None))(*leaves)
        else:
            outs = _run(flatten(closed, checkpoints=True), groups, told, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return run


def _layer(body: Flat, choice: Choice, prevent_cse: PreventCse, seen: Seen) -> Function:
    def plain(*args: Any) -> list[Any]:
        return body.run(args)

    if isinstance(choice, Fine):
        return saving(plain, choice.names, prevent_cse, seen, choice.on_host)
    if isinstance(choice, Policy):
        return jax.checkpoint(plain, policy=resolve(choice), prevent_cse=prevent_cse)
    return plain


def _run(flat: Flat, groups: Mapping[str, Groups], told: Told, args: Sequence[Any]) -> list[Any]:
    layers = _layers(flat)
    _check(flat, layers, groups)
    calls: dict[int, Choice] = {}
    numbers: dict[int, int] = {}
    spans: list[tuple[int, int]] = []
    for name in set(layers.values()):
        if not name.startswith("scan"):
            positions = [index for index, of in layers.items() if of == name]
            numbers |= {index: number for number, index in enumerate(positions)}
            for many, choice in groups[name]:
                calls |= zip(positions[:many], apart(choice, range(many)), strict=True)
                if isinstance(choice, Plan) and choice.group:
                    blocks = [positions[i : min(i + choice.period, many)] for i in range(0, many, choice.period)]
                    spans += [(block[0], block[-1] + 1) for block in blocks]
                positions = positions[many:]

    def bind(index: int, ins: list[Any]) -> list[Any] | None:
        if index not in layers:
            return None
        name, eqn = layers[index], flat.ops[index].eqn
        tell = partial(told, name, numbers.get(index))
        call = checkpoint_call(eqn)
        if call is None:
            return _scan(eqn.params, ins, groups[name], tell)
        return _layer(flatten(call.program), calls[index], call.prevent_cse, tell)(*ins)

    if not spans:
        return flat.run(args, bind=bind)
    program, inner = fused(flat, spans)
    begins = _begins(program, inner)

    def outer(index: int, ins: list[Any]) -> list[Any] | None:
        if index not in inner:
            return bind(begins[index], ins)
        start, block = inner[index]
        return jax.checkpoint(lambda *ins: block.run(ins, bind=lambda i, given: bind(start + i, given)))(*ins)

    return program.run(args, bind=outer)


def _check(flat: Flat, layers: Mapping[int, str], groups: Mapping[str, Groups]) -> None:
    """Raise BudgetError unless the function has the layers that it had when it was planned."""
    depths = Counter(layers.values())
    for index, name in layers.items():
        if name.startswith("scan"):
            depths[name] = flat.ops[index].eqn.params["length"]
    known = {name: sum(count for count, _ in chosen) for name, chosen in groups.items()}
    for name in sorted({*depths, *known}):
        was, now = known.get(name, 0), depths.get(name, 0)
        if was != now:
            raise BudgetError(f"{name}: planned for {was} layers, called with {now}: plan anew for these arguments")


def _begins(program: Flat, inner: Mapping[int, tuple[int, Flat]]) -> list[int]:
    """Where each operation was before spans of them became one."""
    sizes = [len(inner[index][1].ops) if index in inner else 1 for index in range(len(program.ops))]
    return [0, *accumulate(sizes)]


def apart(choice: Choice, places: Sequence[int]) -> list[Choice]:
    """A choice as one for each layer, of which `places` are counted from the first under it."""
    if not isinstance(choice, Plan):
        return [choice] * len(places)
    return [AGAIN if choice.layers[i % choice.period] else Plain() for i in places]


def _scan(params: Mapping[str, Any], ins: list[Any], groups: Groups, seen: Seen) -> list[Any]:
    """The scan as one scan a group. A loop of a single trip is dissolved by XLA: there alone CSE must be prevented."""
    consts, carried = scan_inputs(params)
    body, reverse = flatten(params["jaxpr"]), params["reverse"]
    carry, slices = ins[consts : consts + carried], ins[consts + carried :]
    start, parts = 0, []
    for many, choice in groups:
        layer = _layer(body, choice, many == 1, seen)

        def step(carry: list[Any], x: list[Any], layer: Function = layer) -> tuple[list[Any], list[Any]]:
            outs = layer(*ins[:consts], *carry, *x)
            return outs[:carried], outs[carried:]

        low = params["length"] - start - many if reverse else start
        part = slices if many == params["length"] else [a[low : low + many] for a in slices]
        if isinstance(choice, Plan):
            carry, given = scan(step, carry, part, many, choice, reverse)
        else:
            carry, given = jax.lax.scan(step, carry, part, many, reverse, params["unroll"])
        parts.append(given)
        start += many
    parts = parts[::-1] if reverse else parts
    return [*carry, *(parts[0] if len(parts) == 1 else [jnp.concatenate(ys) for ys in zip(*parts, strict=True)])]
