"""Layers under a plan: the functions that `jax.checkpoint` wraps, scanned or unrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from artifex_bench.compat import classic_remat
from artifex_bench.remat.strategies import Plan, Policy

State = Any  # one layer's arrays
Part = Callable[[State, Any], Any]  # (state, x) -> x


def resolve(policy: Policy | None) -> Callable[..., Any] | None:
    """The JAX policy of that name. Offloading goes from device memory to pinned host memory."""
    if policy is None:
        return None
    make: Any = getattr(jax.checkpoint_policies, policy.name)
    if policy.policies:
        return make(*(resolve(p) for p in policy.policies))
    if policy.name == "offload_dot_with_no_batch_dims":
        return make("device", "pinned_host")
    if policy.offloaded:
        return make(
            names_which_can_be_saved=policy.names,
            names_which_can_be_offloaded=policy.offloaded,
            offload_src="device",
            offload_dst="pinned_host",
        )
    return make(*policy.names) if policy.names else make


def run_stack(parts: Mapping[str, Part], stack: Any, x: Any, depth: int, plan: Plan) -> Any:
    """x after all layers. `stack` is a list of states (unrolled), or one state stacked on axis 0 (scanned).

    Under scan the forward and backward passes are separate loops, which no common-subexpression elimination
    crosses: `prevent_cse` is needed for unrolled layers (documentation of `jax.checkpoint`), and where a scan has a
    single trip, for XLA dissolves such a loop.
    """

    def group(trips: int) -> Callable[[Any, Any], Any]:
        remat = partial(jax.checkpoint, policy=resolve(plan.policy), prevent_cse=trips == 1)
        layer = _layer({name: remat(part) if name == plan.part else part for name, part in parts.items()})
        return _group(layer, remat, plan)

    once = group(trips=1)
    if isinstance(stack, list):
        for start in range(0, depth, plan.period):
            x = once(stack[start : start + plan.period], x)
        return x
    trips, rest = divmod(depth, plan.period)
    looped = group(trips)
    if plan.period == 1:
        return jax.lax.scan(lambda x, state: (looped([state], x), None), x, stack)[0]
    whole = depth - rest
    if trips:
        groups = jax.tree.map(lambda a: a[:whole].reshape(-1, plan.period, *a.shape[1:]), stack)
        x, _ = jax.lax.scan(lambda x, states: (looped(states, x), None), x, groups)
    if rest:  # layers left over: one shorter group
        x = once(jax.tree.map(lambda a: a[whole:], stack), x)
    return x


def _layer(parts: Mapping[str, Part]) -> Part:
    def layer(state: State, x: Any) -> Any:
        for part in parts.values():
            x = part(state, x)
        return x

    return layer


def _group(layer: Part, remat: Callable[..., Any], plan: Plan) -> Callable[[Any, Any], Any]:
    """(states of up to `period` layers, x) -> x, each layer and the whole wrapped as the plan says."""

    def layer_at(i: int, flag: bool, sliced: bool) -> Part:
        def apply(states: Any, x: Any) -> Any:
            return layer(jax.tree.map(lambda a: a[i], states) if sliced else states[i], x)

        if flag:
            return remat(apply)
        return save_all_but_slices(apply) if sliced else apply

    def group(states: Any, x: Any) -> Any:
        sliced = not isinstance(states, list)
        count = len(jax.tree.leaves(states)[0]) if sliced else len(states)
        flags = plan.layers[:count]
        if sliced and len(set(flags)) == 1:
            body = remat(layer) if flags[0] else layer
            return jax.lax.scan(lambda x, state: (body(state, x), None), x, states)[0]
        for i, flag in enumerate(flags):
            x = layer_at(i, flag, sliced)(states, x)
        return x

    return remat(group) if plan.group else group


def save_all_but_slices(layer: Callable[..., Any], static_argnums: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The layer without rematerialization, but for slices of its arguments.

    Else a scan over groups would keep a second, sliced copy of the parameters. JAX_REMAT3 saves only what has a rule of
    its own (products, named values), so that this is a matter of the older implementation.
    """
    apply = jax.checkpoint(layer, policy=_all_but_slices, prevent_cse=False, static_argnums=static_argnums)

    def run(*args: Any) -> Any:
        with classic_remat():
            return apply(*args)

    return run


def _all_but_slices(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in ("slice", "dynamic_slice", "squeeze")
