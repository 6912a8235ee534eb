"""Compare the planner's memory plans with the optimum, on a short chain of layers that all differ.

    python examples/chain_optimum.py --widths 128,256,192,160 --batch 16384

Layer i computes tanh(tanh(x A) B), from one width to the next. The script compiles two classes of plans for the local
device. In the first, each layer saves neither tanh, one of them, or both. In the second, blocks of consecutive layers
are recomputed (Chen et al. 2016). The optimum is the plan with the fewest FLOPs whose compiled peak is within the
budget. `remat_to_budget` gets rates that count FLOPs only. Nothing is timed, so the numbers do not vary.
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
SAVED = ((), (0,), (1,), (0, 1))  # the tanh values that a layer can save: 0 is the inner one, 1 the outer one
COUNT = Roofline({"float32": 1.0}, 1.0, 1.0, float("inf"), "FLOPs only, one second each")


def apply_layer(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(jnp.tanh(x @ weights[0]) @ weights[1])


def apply_layers(weights: Sequence[Any], x: jax.Array) -> jax.Array:
    for layer_weights in weights:
        x = apply_layer(layer_weights, x)
    return x


def compute_loss(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.sum(apply_layers(weights, x) ** 2)


def compute_marked_loss(weights: Any, x: jax.Array) -> jax.Array:
    """Compute the same loss with each layer under `jax.checkpoint`, which shows the planner where the layers are."""
    for layer_weights in weights:
        x = jax.checkpoint(apply_layer)(layer_weights, x)
    return jnp.sum(x**2)


def name_tanh_values(args: Any) -> dict[str, list[str]]:
    """Return {stack: the planner's names of its two tanh values}. No two layers are equal, so each is its own stack."""
    tanh_names: dict[str, list[str]] = {}

    def observe(stack: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
        graph = build_graph(prefix, jvp, COUNT.make_rates())
        tanh_names[stack] = [value.name for value in graph.values if value.label == "tanh"]

    groups = {stack.name: ((1, SaveNamed(frozenset())),) for stack in find_stacks(compute_marked_loss, *args)}
    jax.make_jaxpr(jax.grad(rewrite_function(compute_marked_loss, groups, observe)))(*args)
    return tanh_names


def make_all_plans(args: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield (description, loss function) for every choice of saved values and for every segmentation."""
    depth, tanh_names = len(args[0]), name_tanh_values(args)
    for choice in itertools.product(SAVED, repeat=depth):
        groups = {
            stack: ((1, SaveNamed(frozenset(names[i] for i in saved))),)
            for (stack, names), saved in zip(tanh_names.items(), choice, strict=True)
        }
        description = "/".join("+".join(("inner", "outer")[i] for i in saved) or "-" for saved in choice)
        yield description, rewrite_function(compute_marked_loss, groups)
    for count in range(depth):
        for cuts in itertools.combinations(range(1, depth), count):
            ends = (0, *cuts, depth)

            def compute_loss_by_blocks(weights: Any, x: jax.Array, ends: Any = ends) -> jax.Array:
                for start, stop in itertools.pairwise(ends):
                    x = jax.checkpoint(apply_layers)(weights[start:stop], x)
                return jnp.sum(x**2)

            yield f"blocks {ends}", compute_loss_by_blocks


def format_mib(size: float) -> str:
    return f"{size / 2**20:.2f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="128,256,192,160", help="widths between the layers, in order")
    parser.add_argument("--batch", type=int, default=16384, help="rows of the input")
    options = parser.parse_args()
    widths = [int(width) for width in options.widths.split(",")]
    shape = jax.ShapeDtypeStruct
    weights = [(shape((a, a), jnp.float32), shape((a, b), jnp.float32)) for a, b in itertools.pairwise(widths)]
    args = weights, shape((options.batch, widths[0]), jnp.float32)
    local = make_step_compiler(LOCAL)
    counting = StepCompiler(local.name, COUNT, local.build)

    def measure_plan(loss: Callable[..., Any]) -> tuple[int, float]:
        """Return (compiled peak in bytes, FLOPs) of the loss with its gradient."""
        gradient = jax.value_and_grad(loss)
        return local.build(gradient, args, ()).peak, count_flops(jax.make_jaxpr(gradient)(*args))

    plans = {description: measure_plan(loss) for description, loss in make_all_plans(args)}
    plain_peak, plain_flops = measure_plan(compute_loss)
    print(f"{len(plans)} plans; without rematerialization {format_mib(plain_peak)}\n")
    print("| budget | bytes | plan's peak | recomputed | compilations | optimum | its peak | recomputed | regret |")
    print("|---|---|---|---|---|---|---|---|---|")
    for fraction in FRACTIONS:
        loss, plan = remat_to_budget(compute_marked_loss, *args, budget=fraction, target=counting)
        peak, flops = measure_plan(loss)
        fitting = {description: figures for description, figures in plans.items() if figures[0] <= plan.budget_bytes}
        optimum = min(fitting, key=lambda description: fitting[description][::-1])  # fewest FLOPs, then least peak
        optimum_peak, optimum_flops = fitting[optimum]
        cells = [f"{fraction:.0%}", format_mib(plan.budget_bytes), format_mib(peak), f"{flops / plain_flops - 1:+.2%}"]
        cells += [str(len(plan.compiled)), optimum, format_mib(optimum_peak), f"{optimum_flops / plain_flops - 1:+.2%}"]
        print(f"| {' | '.join([*cells, f'{(flops - optimum_flops) / plain_flops:+.2%}'])} |")


if __name__ == "__main__":
    main()
