"""Candidates: every intermediate that a layer's backward pass can read, named, so that each can be saved or dropped.

Naming a layer's own outputs is not enough: the derivative of `exp` or `tanh` reads the value before its name, and
derivatives have intermediates of their own. So the layer's *derivative* is traced, its calls are dissolved, and each
value in it that no tangent enters is given a name (`checkpoint_name`) before anything reads it. What is kept whole: a
scan within a layer, kernels with a derivative of their own, random keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

from artifex_bench.compat import PreventCse, TracedProgram, classic_remat
from artifex_bench.remat.planner.flat import Flat, Ref, flatten

Function = Callable[..., list[Any]]  # flat arguments to flat results
Seen = Callable[[str, Flat], None]  # told the prefix of names and the layer's derivative, each time it is traced


def ignore(prefix: str, derivative: Flat) -> None:
    """For those who do not want to know."""


def saving(
    layer: Function, names: Collection[str], prevent_cse: PreventCse, seen: Seen = ignore, on_host: Collection[str] = ()
) -> Function:
    """The layer, its backward pass computing all anew but the named values, which are kept, some on the host."""
    policies = jax.checkpoint_policies
    if on_host:
        policy = policies.save_and_offload_only_these_names(
            names_which_can_be_saved=sorted(names),
            names_which_can_be_offloaded=sorted(on_host),
            offload_src="device",
            offload_dst="pinned_host",
        )
    else:
        policy = policies.save_only_these_names(*sorted(names))
    return jax.checkpoint(named(layer, {*names, *on_host}, seen), policy=policy, prevent_cse=prevent_cse)


def named(layer: Function, names: Collection[str], seen: Seen = ignore) -> Function:
    """The layer with those names attached to the values of its derivative."""
    function = jax.custom_jvp(layer)

    def rule(primals: list[Any], tangents: list[Any]) -> Any:
        active = [not isinstance(tangent, SymbolicZero) for tangent in tangents]
        given = [tangent for tangent, flag in zip(tangents, active, strict=True) if flag]
        derivative = flatten(_derivative(layer, primals, active), [False] * len(primals) + [True] * len(given))
        prefix = _prefix(active, derivative)
        seen(prefix, derivative)

        def mark(ref: Ref, value: Any) -> Any:
            name = f"{prefix}.{ref.op}.{ref.out}"
            return checkpoint_name(value, name) if name in names else value

        both = derivative.run([*primals, *given], mark)
        half = len(both) // 2
        outs = [
            tangent if flag else SymbolicZero(jax.typeof(out).to_tangent_aval())
            for out, tangent, flag in zip(both[:half], both[half:], derivative.active_outs[half:], strict=True)
        ]
        return both[:half], outs

    def classic_rule(primals: Any, tangents: Any) -> Any:
        with classic_remat():
            return rule(list(primals), list(tangents))

    function.defjvp(classic_rule, symbolic_zeros=True)
    return function


def _derivative(layer: Function, primals: list[Any], active: list[bool]) -> TracedProgram:
    """The trace of (arguments, tangents of the active ones) -> (results, their tangents)."""

    def both(arguments: list[Any], tangents: list[Any]) -> list[Any]:
        def of_active(*chosen: Any) -> list[Any]:
            rest = iter(chosen)
            return layer(*(next(rest) if flag else a for a, flag in zip(arguments, active, strict=True)))

        chosen = tuple(a for a, flag in zip(arguments, active, strict=True) if flag)
        outs, out_tangents = jax.jvp(of_active, chosen, tuple(tangents))
        # integers have tangents without content, which a trace cannot give back: any array stands for them
        return [*outs, *(0.0 if t.dtype == jax.dtypes.float0 else t for t in out_tangents)]

    like = [jax.typeof(a).to_tangent_aval() for a, flag in zip(primals, active, strict=True) if flag]
    tangents = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in like]
    return jax.make_jaxpr(both)(primals, tangents)


def _prefix(active: list[bool], derivative: Flat) -> str:
    """Tells derivatives apart that differ in what is differentiated, so that no name is taken for another's."""
    text = f"{active} {[op.eqn.primitive.name for op in derivative.ops]}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
