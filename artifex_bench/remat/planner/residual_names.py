"""Names for every primal intermediate in a layer's inlined JVP, so that each can be saved or recomputed.

Naming the layer's own outputs is not enough. The derivative of `exp` or `tanh` reads the value before its name, and
derivatives have intermediates of their own. The layer's JVP is therefore traced, its calls are inlined, and every value
in it that depends on no tangent can get a name (`checkpoint_name`) before anything reads it. Inner scans, custom
derivatives and random keys are not taken apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

from artifex_bench.compat import PreventCse, TracedProgram, classic_remat
from artifex_bench.remat.planner.inlined_program import InlinedProgram, Ref, inline_calls

Function = Callable[..., list[Any]]  # flat arguments to flat results
JvpObserver = Callable[[str, InlinedProgram], None]  # (prefix of the names, JVP), called whenever the JVP is traced


def ignore_jvp(prefix: str, jvp: InlinedProgram) -> None:
    """Observe nothing: the default JvpObserver."""


def name_value(prefix: str, ref: Ref) -> str:
    """Return the name of a value of a JVP."""
    return f"{prefix}.{ref.equation}.{ref.out}"


def save_named(
    layer: Function,
    names: Collection[str],
    prevent_cse: PreventCse,
    observe: JvpObserver = ignore_jvp,
    on_host: Collection[str] = (),
) -> Function:
    """Checkpoint a layer so that the named values are saved and all others are recomputed.

    Args:
        layer: The layer.
        names: Names of the values to save on the device.
        prevent_cse: The argument of `jax.checkpoint`.
        observe: Called with the prefix of the names and the inlined JVP whenever the layer's JVP is traced.
        on_host: Names of the values to offload to host memory.

    Returns:
        The checkpointed layer, with the same values and gradients.
    """
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
    return jax.checkpoint(
        name_intermediates(layer, {*names, *on_host}, observe), policy=policy, prevent_cse=prevent_cse
    )


def name_intermediates(layer: Function, names: Collection[str], observe: JvpObserver = ignore_jvp) -> Function:
    """Attach names to values of the layer's JVP.

    Args:
        layer: The layer.
        names: The names to attach, as `name_value` makes them; others are ignored.
        observe: Called with the prefix of the names and the inlined JVP whenever the JVP is traced.

    Returns:
        The layer under a custom JVP rule that runs the inlined JVP.
    """
    function = jax.custom_jvp(layer)

    def rule(primals: list[Any], tangents: list[Any]) -> Any:
        active = [not isinstance(tangent, SymbolicZero) for tangent in tangents]
        given = [tangent for tangent, flag in zip(tangents, active, strict=True) if flag]
        jvp = inline_calls(_trace_jvp(layer, primals, active), [False] * len(primals) + [True] * len(given))
        prefix = _make_prefix(active, jvp)
        observe(prefix, jvp)

        def mark(ref: Ref, value: Any) -> Any:
            name = name_value(prefix, ref)
            return checkpoint_name(value, name) if name in names else value

        both = jvp.run([*primals, *given], mark)
        half = len(both) // 2
        outs = [
            tangent if flag else SymbolicZero(jax.typeof(out).to_tangent_aval())
            for out, tangent, flag in zip(both[:half], both[half:], jvp.active_outs[half:], strict=True)
        ]
        return both[:half], outs

    def classic_rule(primals: Any, tangents: Any) -> Any:
        with classic_remat():
            return rule(list(primals), list(tangents))

    function.defjvp(classic_rule, symbolic_zeros=True)
    return function


def _trace_jvp(layer: Function, primals: list[Any], active: list[bool]) -> TracedProgram:
    """Trace (arguments, tangents of the active ones) -> (results, their tangents)."""

    def call_jvp(arguments: list[Any], tangents: list[Any]) -> list[Any]:
        def call_with_active(*chosen: Any) -> list[Any]:
            rest = iter(chosen)
            return layer(*(next(rest) if flag else a for a, flag in zip(arguments, active, strict=True)))

        chosen = tuple(a for a, flag in zip(arguments, active, strict=True) if flag)
        outs, out_tangents = jax.jvp(call_with_active, chosen, tuple(tangents))
        # Integers have tangents of dtype float0, which a trace cannot return: any array can stand in for them.
        return [*outs, *(0.0 if t.dtype == jax.dtypes.float0 else t for t in out_tangents)]

    avals = [jax.typeof(a).to_tangent_aval() for a, flag in zip(primals, active, strict=True) if flag]
    tangents = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return jax.make_jaxpr(call_jvp)(primals, tangents)


def _make_prefix(active: list[bool], jvp: InlinedProgram) -> str:
    """Return a prefix that differs between JVPs of different equations or active inputs, so that no names collide."""
    text = f"{active} {[equation.eqn.primitive.name for equation in jvp.equations]}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
