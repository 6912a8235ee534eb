"""rewrite_function: any function, traced and run again with each layer under its choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from artifex_bench.compat import PreventCse, checkpoint_call, classic_remat, scan_inputs
from artifex_bench.remat.planner.argument_checks import split_keywords
from artifex_bench.remat.planner.budget import BudgetError
from artifex_bench.remat.planner.inlined_program import InlinedProgram, Span, fuse_spans, inline_calls
from artifex_bench.remat.planner.layer_choice import Choice, Groups
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION, is_scan, name_layers
from artifex_bench.remat.planner.residual_names import Function, JvpObserver

# (stack, number of the layer in it or None for a scan, prefix of the names, inlined JVP), called for each traced JVP
LayerObserver = Callable[[str, int | None, str, InlinedProgram], None]


def ignore_layer(stack: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
    """Observe nothing: the default LayerObserver."""


def rewrite_function(
    function: Callable[..., Any], groups: Mapping[str, Groups], observe: LayerObserver = ignore_layer
) -> Callable[..., Any]:
    """Put every stack's layers under their choices.

    Args:
        function: The function.
        groups: The choices of each stack.
        observe: Called with each layer's inlined JVP as it is traced: the stack's name, the layer's number in the stack
            (None for a scan, whose layers are traced once), the prefix of the names, and the JVP.

    Returns:
        A function with the same values and gradients. It is traced at each call, so put it under `jit`. It takes other
        arguments too, as long as the function has the same number of layers with them, and raises BudgetError
        otherwise. Keyword arguments that are not arrays are passed on unchanged.
    """

    def run(*args: Any, **keywords: Any) -> Any:
        with classic_remat():
            return run_rewritten(*args, **keywords)

    def run_rewritten(*args: Any, **keywords: Any) -> Any:
        arrays, fixed = split_keywords(keywords)

        def call(args: Sequence[Any], arrays: Mapping[str, Any]) -> Any:
            return function(*args, **fixed, **arrays)

        traced, shape = jax.make_jaxpr(call, return_shape=True)(args, arrays)
        leaves = jax.tree.leaves((args, arrays))
        if WHOLE_FUNCTION in groups:
            ((_, choice),) = groups[WHOLE_FUNCTION]
            observe_jvp = partial(observe, WHOLE_FUNCTION, None)
            outs = _wrap_layer(inline_calls(traced), choice, True, observe_jvp)(*leaves)
        else:
            outs = _run_layers(inline_calls(traced, keep_checkpoints=True), groups, observe, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return run


def _wrap_layer(layer: InlinedProgram, choice: Choice, prevent_cse: PreventCse, observe: JvpObserver) -> Function:
    return choice.wrap(lambda *args: layer.run(args), prevent_cse, observe)


def _run_layers(
    program: InlinedProgram, groups: Mapping[str, Groups], observe: LayerObserver, args: Sequence[Any]
) -> list[Any]:
    """Run a program with its scans and calls under their choices."""
    layers = name_layers(program)
    _check_depths(program, layers, groups)
    calls, numbers, spans = _assign_calls(layers, groups)

    def bind(index: int, inputs: list[Any]) -> list[Any] | None:
        if index not in layers:
            return None
        name, eqn = layers[index], program.equations[index].eqn
        observe_jvp = partial(observe, name, numbers.get(index))
        call = checkpoint_call(eqn)
        if call is None:
            return _run_scan(eqn.params, inputs, groups[name], observe_jvp)
        return _wrap_layer(inline_calls(call.program), calls[index], call.prevent_cse, observe_jvp)(*inputs)

    if not spans:
        return program.run(args, bind=bind)
    fused, blocks = fuse_spans(program, spans)
    starts = _find_starts(fused, blocks)

    def bind_fused(index: int, inputs: list[Any]) -> list[Any] | None:
        if index not in blocks:
            return bind(starts[index], inputs)
        start, block = blocks[index]
        return jax.checkpoint(lambda *inputs: block.run(inputs, bind=lambda i, given: bind(start + i, given)))(*inputs)

    return fused.run(args, bind=bind_fused)


def _assign_calls(
    layers: Mapping[int, str], groups: Mapping[str, Groups]
) -> tuple[dict[int, Choice], dict[int, int], list[Span]]:
    """Return each call's choice, each call's number in its stack, and the spans of equations to checkpoint as one."""
    choices: dict[int, Choice] = {}
    numbers: dict[int, int] = {}
    spans: list[Span] = []
    for name in set(layers.values()):
        if is_scan(name):
            continue
        positions = [index for index, stack in layers.items() if stack == name]
        numbers |= {index: number for number, index in enumerate(positions)}
        for count, choice in groups[name]:
            mine, positions = positions[:count], positions[count:]
            choices |= zip(mine, choice.split_by_layer(range(count)), strict=True)
            spans += choice.find_spans(mine)
    return choices, numbers, spans


def _check_depths(program: InlinedProgram, layers: Mapping[int, str], groups: Mapping[str, Groups]) -> None:
    """Check that the function has the layers that it was planned for.

    Raises:
        BudgetError: A stack has another number of layers.
    """
    depths = Counter(layers.values())
    for index, name in layers.items():
        if is_scan(name):
            depths[name] = program.equations[index].eqn.params["length"]
    planned = {name: sum(count for count, _ in chosen) for name, chosen in groups.items()}
    for name in sorted({*depths, *planned}):
        expected, actual = planned.get(name, 0), depths.get(name, 0)
        if expected != actual:
            raise BudgetError(
                f"{name}: planned for {expected} layers, called with {actual}: "
                "call remat_to_budget again with these arguments"
            )


def _find_starts(fused: InlinedProgram, blocks: Mapping[int, tuple[int, InlinedProgram]]) -> list[int]:
    """Return the index that each equation had before spans were fused."""
    sizes = [len(blocks[index][1].equations) if index in blocks else 1 for index in range(len(fused.equations))]
    return [0, *accumulate(sizes)]


def _run_scan(params: Mapping[str, Any], inputs: list[Any], groups: Groups, observe: JvpObserver) -> list[Any]:
    """Run a scan as one scan per group.

    XLA dissolves a loop of a single trip, so CSE must be prevented there.
    """
    consts, carried = scan_inputs(params)
    body, length, reverse = inline_calls(params["jaxpr"]), params["length"], params["reverse"]
    carry, slices = inputs[consts : consts + carried], inputs[consts + carried :]
    start, results = 0, []
    for count, choice in groups:
        layer = _wrap_layer(body, choice, count == 1, observe)

        def step(carry: list[Any], x: list[Any], layer: Function = layer) -> tuple[list[Any], list[Any]]:
            outs = layer(*inputs[:consts], *carry, *x)
            return outs[:carried], outs[carried:]

        low = length - start - count if reverse else start
        xs = slices if count == length else [a[low : low + count] for a in slices]
        carry, ys = choice.scan(step, carry, xs, count, reverse, params["unroll"])
        results.append(ys)
        start += count
    results = results[::-1] if reverse else results
    if len(results) == 1:
        return [*carry, *results[0]]
    return [*carry, *(jnp.concatenate(ys) for ys in zip(*results, strict=True))]
