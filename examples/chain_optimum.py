"""A plan against every plan there is, on a chain of layers that all differ.

    python examples/chain_optimum.py --widths 128,256,192,160 --batch 16384

Layer i is x -> tanh(tanh(x A) B) from one width to the next. Compiled for the attached device are
all choices of what each layer saves (nothing, either tanh, both), and all segmentations into blocks of consecutive
layers (the class of Chen et al. 2016). Of those within a budget the least FLOPs is the optimum, which
`remat_to_budget`, told to count FLOPs, is held against. Exact: nothing is timed.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from artifex_bench import remat_to_budget
from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import StepCompiler, make_step_compiler
from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.measure.rates import Roofline
from artifex_bench.remat.planner.choices import SaveNamed
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.inlined_program import InlinedProgram
from artifex_bench.remat.planner.layers import find_stacks
from artifex_bench.remat.planner.rewrite import rewrite_function

FRACTIONS = (0.1, 0.25, 0.5, 0.75)
SAVED = ((), (0,), (1,), (0, 1))  # which of a layer's tanh
COUNT = Roofline({"float32": 1.0}, 1.0, 1.0, float("inf"), "FLOPs alone: a second each")


def layer(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(jnp.tanh(x @ weights[0]) @ weights[1])


def run(weights: Sequence[Any], x: jax.Array) -> jax.Array:
    for one in weights:
        x = layer(one, x)
    return x


def values(args: Any) -> dict[str, list[str]]:
    """{stack: the names of its two tanh}; each layer is a stack of its own, for no two are alike."""
    found: dict[str, list[str]] = {}

    def observe(stack: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
        graph = build_graph(prefix, jvp, COUNT.make_rates())
        found[stack] = [value.name for value in graph.values if value.label == "tanh"]

    nothing = {stack.name: ((1, SaveNamed(frozenset())),) for stack in find_stacks(marked, *args)}
    jax.make_jaxpr(jax.grad(rewrite_function(marked, nothing, observe)))(*args)
    return found


def every(args: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, loss) of each choice for each layer, and of each segmentation."""
    depth, named = len(args[0]), values(args)
    for choice in itertools.product(SAVED, repeat=depth):
        chosen = {
            s: frozenset(names[i] for i in which) for (s, names), which in zip(named.items(), choice, strict=True)
        }
        words = "/".join("+".join(("inner", "outer")[i] for i in which) or "-" for which in choice)
        yield words, rewrite_function(marked, {stack: ((1, SaveNamed(names)),) for stack, names in chosen.items()})
    for count in range(depth):
        for cuts in itertools.combinations(range(1, depth), count):
            ends = (0, *cuts, depth)

            def by_blocks(weights: Any, x: jax.Array, ends: Any = ends) -> jax.Array:
                for start, stop in itertools.pairwise(ends):
                    x = jax.checkpoint(run)(weights[start:stop], x)
                return jnp.sum(x**2)

            yield f"blocks {ends}", by_blocks


def plain(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.sum(run(weights, x) ** 2)


def marked(weights: Any, x: jax.Array) -> jax.Array:
    """The chain as the planner is given it: each layer a call."""
    for one in weights:
        x = jax.checkpoint(layer)(one, x)
    return jnp.sum(x**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="128,256,192,160")
    parser.add_argument("--batch", type=int, default=16384)
    given = parser.parse_args()
    widths = [int(width) for width in given.widths.split(",")]
    shape = jax.ShapeDtypeStruct
    weights = [(shape((a, a), jnp.float32), shape((a, b), jnp.float32)) for a, b in itertools.pairwise(widths)]
    args = weights, shape((given.batch, widths[0]), jnp.float32)
    here = make_step_compiler(LOCAL)
    counting = StepCompiler(here.name, COUNT, here.build)

    def figures(loss: Callable[..., Any]) -> tuple[int, float]:
        gradient = jax.value_and_grad(loss)
        return here.build(gradient, args, ()).peak, count_flops(jax.make_jaxpr(gradient)(*args))

    found = {name: figures(loss) for name, loss in every(args)}
    most, model = figures(plain)
    print(f"{len(found)} plans; without rematerialization {most / 2**20:.2f} MiB\n")
    print("| budget | bytes | plan's peak | recomputed | compilations | optimum | its peak | recomputed | regret |")
    print("|---|---|---|---|---|---|---|---|---|")
    for fraction in FRACTIONS:
        loss, plan = remat_to_budget(marked, *args, budget=fraction, target=counting)
        peak, mine = figures(loss)
        name, (at, least) = min(
            ((n, f) for n, f in found.items() if f[0] <= plan.budget_bytes), key=lambda item: item[1][::-1]
        )
        sizes = [f"{size / 2**20:.2f} MiB" for size in (plan.budget_bytes, peak, at)]
        again = [f"{one / model - 1:+.2%}" for one in (mine, least)]
        cells = [f"{fraction:.0%}", *sizes[:2], again[0], str(len(plan.compiled)), name, sizes[2], again[1]]
        print(f"| {' | '.join([*cells, f'{(mine - least) / model:+.2%}'])} |")


if __name__ == "__main__":
    main()
