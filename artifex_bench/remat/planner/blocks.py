"""Consecutive layers in blocks, as the strategies every-<n>, segments-<n> and nested-<n> have them, in any function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from artifex_bench.remat.apply import save_all_but_slices
from artifex_bench.remat.planner.flat import Atom, Flat, Op, Ref
from artifex_bench.remat.strategies import Plan

Step = Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]  # (carry, slices) -> (carry, results), one layer
Span = tuple[int, int]  # from that operation to before that one


def scan(
    step: Step, carry: list[Any], xs: list[Any], many: int, plan: Plan, reverse: bool
) -> tuple[list[Any], list[Any]]:
    """`jax.lax.scan` of `many` layers, in blocks as `plan` has them; what does not fill a block is a shorter one."""

    def block(count: int, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        flags = plan.layers[:count]
        if len(set(flags)) == 1:
            body = jax.checkpoint(step, prevent_cse=count == 1) if flags[0] else step
            return jax.lax.scan(body, carry, xs, count, reverse)
        given: list[Any] = []
        for number, flag in enumerate(flags):

            def layer(carry: list[Any], xs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
                return step(carry, [x[at] for x in xs])

            remat = partial(jax.checkpoint, prevent_cse=False) if flag else save_all_but_slices
            apply = remat(layer, static_argnums=(2,))
            carry, ys = apply(carry, xs, count - 1 - number if reverse else number)
            given.append(ys)
        columns = zip(*(given[::-1] if reverse else given), strict=True)
        return carry, [jnp.stack(column) for column in columns]

    def once(count: int, alone: bool, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        run = partial(block, count)
        return jax.checkpoint(run, prevent_cse=alone)(carry, xs) if plan.group else run(carry, xs)

    size = plan.period
    trips, rest = divmod(many, size)
    first, last = (slice(rest, None), slice(0, rest)) if reverse else (slice(0, many - rest), slice(many - rest, None))
    blocks = [x[first].reshape(trips, size, *x.shape[1:]) for x in xs]
    carry, ys = jax.lax.scan(partial(once, size, trips == 1), carry, blocks, trips, reverse)
    ys = [y.reshape(trips * size, *y.shape[2:]) for y in ys]
    if not rest:
        return carry, ys
    carry, more = once(rest, True, carry, [x[last] for x in xs])
    pairs = zip(more, ys, strict=True) if reverse else zip(ys, more, strict=True)
    return carry, [jnp.concatenate(pair) for pair in pairs]


def fused(flat: Flat, spans: Sequence[Span]) -> tuple[Flat, dict[int, tuple[int, Flat]]]:
    """(the program with each span of its operations as a single one, {its index: (where it began, the span itself)}).

    What a span reads from before it are its inputs; what is read after it are its outputs.
    """
    last = {ref: index for index, op in enumerate(flat.ops) for ref in op.ins if isinstance(ref, Ref)}
    last |= {ref: len(flat.ops) for ref in flat.outs if isinstance(ref, Ref)}
    ends = dict(spans)
    ops: list[Op] = []
    inner: dict[int, tuple[int, Flat]] = {}
    moved: dict[Ref, Ref] = {}
    start = 0
    while start < len(flat.ops):
        stop = ends.get(start, start + 1)
        inside = flat.ops[start:stop]
        made = [Ref(start + i, out) for i, op in enumerate(inside) for out in range(len(op.active))]
        if start in ends:
            read = (atom for op in inside for atom in op.ins if isinstance(atom, Ref))
            outer = dict.fromkeys(ref for ref in read if ref.op < start)
            outs = [ref for ref in made if last.get(ref, -1) >= stop]
            own = {ref: Ref(-1, i) for i, ref in enumerate(outer)} | {ref: Ref(ref.op - start, ref.out) for ref in made}
            ins: Sequence[Atom] = tuple(outer)
            body = tuple(replace(op, ins=_renamed(op.ins, own)) for op in inside)
            inner[len(ops)] = (start, Flat(body, _renamed(outs, own), (False,) * len(outs)))
        else:
            ins, outs = inside[0].ins, made
        moved |= {ref: Ref(len(ops), i) for i, ref in enumerate(outs)}
        ops.append(Op(inside[0].eqn, _renamed(ins, moved), (False,) * len(outs)))
        start = stop
    return Flat(tuple(ops), _renamed(flat.outs, moved), flat.active_outs), inner


def _renamed(atoms: Sequence[Atom], names: dict[Ref, Ref]) -> tuple[Atom, ...]:
    return tuple(names.get(atom, atom) if isinstance(atom, Ref) else atom for atom in atoms)
