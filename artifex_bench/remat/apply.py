"""Layers under a plan: the functions that `jax.checkpoint` wraps, scanned or unrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from artifex_bench.compat import classic_remat
from artifex_bench.remat.strategies import POLICIES, Plan, Policy, import_policy

State = Any  # one layer's arrays
Part = Callable[[State, Any], Any]  # (state, x) -> x
HOST_ROUTE = {"offload_src": "device", "offload_dst": "pinned_host"}


def make_policy(policy: Policy | None) -> Callable[..., Any] | None:
    """Return the policy as `jax.checkpoint` takes it. Offloading goes from device memory to pinned host memory.

    Raises:
        CaseError: A policy of the user's own cannot be imported.
    """
    if policy is None:
        return None
    if policy.is_own:
        return import_policy(policy.name)
    entry = POLICIES[policy.name]
    make: Any = getattr(jax.checkpoint_policies, policy.name)
    if entry.arguments == "policies":
        return make(*map(make_policy, policy.policies))
    if entry.arguments == "offload":
        tags = {"names_which_can_be_saved": policy.names, "names_which_can_be_offloaded": policy.offloaded}
        return make(**tags, **HOST_ROUTE)
    if entry.arguments == "names":
        return make(*policy.names)
    return make(**HOST_ROUTE) if entry.offloads else make


def run_stack(parts: Mapping[str, Part], stack: Any, x: Any, depth: int, plan: Plan) -> Any:
    """Run all layers of a stack under a plan.

    Under scan the forward and backward passes are separate loops, which no common-subexpression elimination
    crosses. `prevent_cse` is needed for unrolled layers (documentation of `jax.checkpoint`), and for a scan of a single
    trip, because XLA dissolves such a loop.

    Args:
        parts: Functions (state, x) -> x that are a layer when applied in order.
        stack: A list of states (unrolled), or one state whose arrays are stacked on axis 0 (scanned).
        x: Input of the first layer.
        depth: Number of layers.
        plan: How they are rematerialized.

    Returns:
        The output of the last layer, of the shape of x.
    """

    def make_group(trips: int) -> Callable[[Any, Any], Any]:
        remat = partial(jax.checkpoint, policy=make_policy(plan.policy), prevent_cse=trips == 1)
        layer = _chain_parts({name: remat(part) if name == plan.part else part for name, part in parts.items()})
        return _wrap_group(layer, remat, plan)

    once = make_group(trips=1)
    if isinstance(stack, list):
        for start in range(0, depth, plan.period):
            x = once(stack[start : start + plan.period], x)
        return x
    trips, rest = divmod(depth, plan.period)
    looped = make_group(trips)
    if plan.period == 1:
        return jax.lax.scan(lambda x, state: (looped([state], x), None), x, stack)[0]
    whole = depth - rest
    if trips:
        groups = jax.tree.map(lambda a: a[:whole].reshape(-1, plan.period, *a.shape[1:]), stack)
        x, _ = jax.lax.scan(lambda x, states: (looped(states, x), None), x, groups)
    if rest:  # layers left over: one shorter group
        x = once(jax.tree.map(lambda a: a[whole:], stack), x)
    return x


def _chain_parts(parts: Mapping[str, Part]) -> Part:
    def run_layer(state: State, x: Any) -> Any:
        for part in parts.values():
            x = part(state, x)
        return x

    return run_layer


def _wrap_group(layer: Part, remat: Callable[..., Any], plan: Plan) -> Callable[[Any, Any], Any]:
    """Return (states of up to `period` layers, x) -> x, with each layer and the group wrapped as the plan says."""

    def wrap_layer(i: int, flag: bool, sliced: bool) -> Part:
        def run_layer(states: Any, x: Any) -> Any:
            return layer(jax.tree.map(lambda a: a[i], states) if sliced else states[i], x)

        if flag:
            return remat(run_layer)
        return save_all_but_slices(run_layer) if sliced else run_layer

    def run_group(states: Any, x: Any) -> Any:
        sliced = not isinstance(states, list)
        count = len(jax.tree.leaves(states)[0]) if sliced else len(states)
        flags = plan.layers[:count]
        if sliced and len(set(flags)) == 1:
            body = remat(layer) if flags[0] else layer
            return jax.lax.scan(lambda x, state: (body(state, x), None), x, states)[0]
        for i, flag in enumerate(flags):
            x = wrap_layer(i, flag, sliced)(states, x)
        return x

    return remat(run_group) if plan.group else run_group


def save_all_but_slices(layer: Callable[..., Any], static_argnums: tuple[int, ...] = ()) -> Callable[..., Any]:
    """Return the layer without rematerialization, except that slices of its arguments are computed again.

    Otherwise a scan over groups would keep a second, sliced copy of the parameters. The older implementation of
    `jax.checkpoint` is used, because JAX_REMAT3 saves only values with a rule of their own: products, named values.
    """
    saving = jax.checkpoint(layer, policy=_saves_unless_slice, prevent_cse=False, static_argnums=static_argnums)

    def run_layer(*args: Any) -> Any:
        with classic_remat():
            return saving(*args)

    return run_layer


def _saves_unless_slice(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in ("slice", "dynamic_slice", "squeeze")
