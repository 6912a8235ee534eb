"""scan_in_blocks: `jax.lax.scan` with consecutive layers checkpointed in blocks (every-n, segments-n, nested-n)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from artifex_bench.remat.apply import save_all_but_slices

Step = Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]  # one layer: (carry, slices) -> (carry, results)


def scan_in_blocks(
    step: Step,
    carry: list[Any],
    xs: list[Any],
    length: int,
    reverse: bool,
    layers: tuple[bool, ...],
    as_one: bool,
) -> tuple[list[Any], list[Any]]:
    """Scan layers in blocks. Layers that do not fill a block make a shorter one at the end.

    Args:
        step: One layer.
        carry: Initial carry.
        xs: Arrays to slice along axis 0, one slice per layer.
        length: Number of layers.
        reverse: Whether the scan runs from the last layer to the first.
        layers: For each layer of a block, whether it is checkpointed by itself.
        as_one: Whether each block is checkpointed as one.

    Returns:
        The final carry and the stacked results, as `jax.lax.scan` returns them.
    """

    def run_block(count: int, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        flags = layers[:count]
        if len(set(flags)) == 1:
            body = jax.checkpoint(step, prevent_cse=count == 1) if flags[0] else step
            return jax.lax.scan(body, carry, xs, count, reverse)
        results: list[Any] = []
        for number, flag in enumerate(flags):

            def run_layer(carry: list[Any], xs: list[Any], index: int) -> tuple[list[Any], list[Any]]:
                return step(carry, [x[index] for x in xs])

            remat = partial(jax.checkpoint, prevent_cse=False) if flag else save_all_but_slices
            apply = remat(run_layer, static_argnums=(2,))
            carry, ys = apply(carry, xs, count - 1 - number if reverse else number)
            results.append(ys)
        columns = zip(*(results[::-1] if reverse else results), strict=True)
        return carry, [jnp.stack(column) for column in columns]

    def run_checkpointed(count: int, prevent_cse: bool, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        run = partial(run_block, count)
        return jax.checkpoint(run, prevent_cse=prevent_cse)(carry, xs) if as_one else run(carry, xs)

    period = len(layers)
    trips, rest = divmod(length, period)
    if reverse:
        first, last = slice(rest, None), slice(0, rest)
    else:
        first, last = slice(0, length - rest), slice(length - rest, None)
    blocks = [x[first].reshape(trips, period, *x.shape[1:]) for x in xs]
    # XLA dissolves a loop of one trip, and CSE could then merge the recomputation away
    carry, ys = jax.lax.scan(partial(run_checkpointed, period, trips == 1), carry, blocks, trips, reverse)
    ys = [y.reshape(trips * period, *y.shape[2:]) for y in ys]
    if not rest:
        return carry, ys
    carry, more = run_checkpointed(rest, True, carry, [x[last] for x in xs])
    pairs = zip(more, ys, strict=True) if reverse else zip(ys, more, strict=True)
    return carry, [jnp.concatenate(pair) for pair in pairs]
