"""Compare the planner's memory plans with Rotor's optimal checkpointing, on ResNet-50.

    python examples/rotor.py --side 224 --batch 16

ResNet-50 is a chain of stages, few of which are alike. Rotor (Beaumont et al. 2019,
https://hal.inria.fr/hal-02352969) decides by dynamic programming which inputs of stages to keep, which stages to save
whole, and which segments to recompute, also more than once. Its schedules are optimal in that class, by the bytes and
the FLOPs of the stages. The script compiles them for the local device as nested `jax.checkpoint`. It compares
`remat_to_budget`, whose rates count FLOPs only, with the schedule that fits the budget with the fewest FLOPs. A
bisection and a few more compilations locate that schedule. The first line of the output also shows blocks as Chen et
al. (2016) choose them: about sqrt(n) blocks of n stages. Nothing runs, so the numbers do not vary.
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chain_optimum import COUNT, FRACTIONS, format_mib

from artifex_bench import remat_to_budget
from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import StepCompiler, make_step_compiler
from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.planner.choices import SaveNamed
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.inlined_program import InlinedProgram
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION
from artifex_bench.remat.planner.rewrite import rewrite_function

SLOTS = 400  # units of memory in Rotor's dynamic program
NEAR = 8  # schedules compiled beyond the first over the budget, because compiled peaks are not quite in order
Stage = Callable[[Any, jax.Array], jax.Array]


def convolve(kernel: jax.Array, x: jax.Array, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normalize_batch(weights: Any, x: jax.Array) -> jax.Array:
    scale, shift = weights
    return (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5) * scale + shift


def stem(weights: Any, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(normalize_batch(weights[1], convolve(weights[0], x, 2)))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def bottleneck(weights: Any, x: jax.Array, stride: int = 1) -> jax.Array:
    y = jax.nn.relu(normalize_batch(weights[1], convolve(weights[0], x)))
    y = jax.nn.relu(normalize_batch(weights[3], convolve(weights[2], y, stride)))
    y = normalize_batch(weights[5], convolve(weights[4], y))
    shortcut = normalize_batch(weights[7], convolve(weights[6], x, stride)) if len(weights) > 6 else x
    return jax.nn.relu(y + shortcut)


def halving_bottleneck(weights: Any, x: jax.Array) -> jax.Array:
    return bottleneck(weights, x, 2)


def head(weights: Any, x: jax.Array) -> jax.Array:
    return x.mean((1, 2)) @ weights[0] + weights[1]


def make_resnet50() -> tuple[list[Stage], list[Any]]:
    """Return ResNet-50's stages and the shapes of their weights (He et al. 2015).

    Batch norm is computed as in training, without running means.
    """

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def convolution(size: int, inner: int, outer: int) -> tuple[Any, Any]:
        return array(size, size, inner, outer), (array(outer), array(outer))

    stages: list[Stage] = [stem]
    weights: list[Any] = [convolution(7, 3, 64)]
    channels = 64
    for part, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**part
        for number in range(blocks):
            block = (*convolution(1, channels, inner), *convolution(3, inner, inner), *convolution(1, inner, 4 * inner))
            shortcut = convolution(1, channels, 4 * inner) if number == 0 else ()
            weights.append((*block, *shortcut))
            stages.append(halving_bottleneck if part and number == 0 else bottleneck)
            channels = 4 * inner
    return [*stages, head], [*weights, (array(channels, 1000), array(1000))]


@dataclass(frozen=True)
class Chain:
    """Costs of the stages, in order.

    Attributes:
        forward: FLOPs of the forward pass.
        backward: FLOPs of the backward pass.
        output_bytes: Bytes of the output.
        saved_bytes: Bytes of all values that the backward pass reads.
    """

    forward: list[float]
    backward: list[float]
    output_bytes: list[int]
    saved_bytes: list[int]


def measure_chain(stages: Sequence[Stage], weights: Sequence[Any], x: Any) -> Chain:
    """Count the costs of the stages in their traces."""
    chain = Chain([], [], [], [])
    for stage, stage_weights in zip(stages, weights, strict=True):

        def compute_sum(weights: Any, x: Any, stage: Stage = stage) -> jax.Array:
            return jnp.sum(stage(weights, x))

        def observe(name: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
            graph = build_graph(prefix, jvp, COUNT.make_rates())
            chain.saved_bytes.append(int(graph.count_bytes(graph.find_materialized())))

        both = (0, 1)
        forward = count_flops(jax.make_jaxpr(compute_sum)(stage_weights, x))
        observed = rewrite_function(compute_sum, {WHOLE_FUNCTION: ((1, SaveNamed(frozenset())),)}, observe)
        jax.make_jaxpr(jax.grad(observed, both))(stage_weights, x)
        gradient = jax.make_jaxpr(jax.value_and_grad(compute_sum, both))(stage_weights, x)
        chain.forward.append(forward)
        chain.backward.append(count_flops(gradient) - forward)
        x = jax.eval_shape(stage, stage_weights, x)
        chain.output_bytes.append(x.size * x.dtype.itemsize)
    return chain


# (): the end; ("save", number of a stage, the rest); ("recompute", schedule of a segment, the rest)
Schedule = tuple[Any, ...]
Solution = tuple[float, Schedule]  # (FLOPs, schedule)


def find_schedules(chain: Chain) -> list[Schedule]:
    """Return the schedules with the fewest FLOPs, for ever more memory beside the input (theorem 1 of the paper)."""
    unit = 1.1 * sum(chain.saved_bytes) / SLOTS
    output, saved = (
        np.ceil(np.array(sizes) / unit).astype(int).tolist() for sizes in (chain.output_bytes, chain.saved_bytes)
    )
    forward_before, last = [0.0, *accumulate(chain.forward)], len(chain.forward) - 1

    @cache
    def solve(start: int, stop: int, room: int) -> Solution | None:
        """Return the best way to differentiate the stages from start to stop, whose input is in memory."""
        solutions: list[Solution] = []
        if saved[start] + output[stop] <= room:  # the saved values, and the gradient of the last output
            flops = chain.forward[start] + chain.backward[start]
            rest = solve(start + 1, stop, room - saved[start]) if start < stop else (0.0, ())
            if rest:
                solutions.append((flops + rest[0], ("save", start, rest[1])))
        for cut in range(start + 1, stop + 1):
            rest, first = solve(cut, stop, room - output[cut - 1]), solve(start, cut - 1, room)
            if rest and first:
                flops = forward_before[cut] - forward_before[start] + first[0] + rest[0]
                solutions.append((flops, ("recompute", first[1], rest[1])))
        return min(solutions, default=None, key=lambda solution: solution[0])

    solutions = (solve(0, last, room) for room in range(SLOTS))
    return list(dict.fromkeys(solution[1] for solution in solutions if solution))


def make_scheduled_loss(stages: Sequence[Stage], schedule: Schedule) -> Callable[[Sequence[Any], jax.Array], jax.Array]:
    """Return the chain's loss as a function that follows a schedule."""

    def run(weights: Sequence[Any], x: jax.Array, schedule: Schedule = schedule) -> jax.Array:
        while schedule:
            kind, part, schedule = schedule
            if kind == "save":
                x = stages[part](weights[part], x)
            else:
                x = jax.checkpoint(lambda weights, x, part=part: run(weights, x, part))(weights, x)
        return x

    return lambda weights, x: jnp.sum(run(weights, x) ** 2)


def save_stages(stages: Sequence[int]) -> Schedule:
    """Return the schedule that saves each of those stages whole."""
    return ("save", stages[0], save_stages(stages[1:])) if stages else ()


def recompute_blocks(blocks: Sequence[Sequence[int]]) -> Schedule:
    """Return the schedule of Chen et al. 2016, which recomputes each block as one."""
    return ("recompute", save_stages(blocks[0]), recompute_blocks(blocks[1:])) if blocks else ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224, help="height and width of an image, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    options = parser.parse_args()
    stages, weights = make_resnet50()
    image = jax.ShapeDtypeStruct((options.batch, options.side, options.side, 3), jnp.float32)
    local = make_step_compiler(LOCAL)
    counting = StepCompiler(local.name, COUNT, local.build)

    def compute_marked_loss(weights: Sequence[Any], x: jax.Array) -> jax.Array:
        for stage, stage_weights in zip(stages, weights, strict=True):
            x = jax.checkpoint(stage)(stage_weights, x)
        return jnp.sum(x**2)

    def measure_plan(loss: Callable[..., Any]) -> tuple[int, float]:
        """Return (compiled peak in bytes, FLOPs) of the loss with its gradient."""
        gradient = jax.value_and_grad(loss)
        return local.build(gradient, (weights, image), ()).peak, count_flops(jax.make_jaxpr(gradient)(weights, image))

    stage_numbers = range(len(stages))
    schedules = find_schedules(measure_chain(stages, weights, image))
    schedule_numbers = range(len(schedules))
    measure_schedule = cache(lambda number: measure_plan(make_scheduled_loss(stages, schedules[number])))
    plain_peak, plain_flops = measure_plan(make_scheduled_loss(stages, save_stages(stage_numbers)))
    blocks = np.array_split(stage_numbers, round(len(stages) ** 0.5))
    chen = make_scheduled_loss(stages, recompute_blocks([block.tolist() for block in blocks]))
    chen_peak, chen_flops = measure_plan(chen)
    print(
        f"without rematerialization {format_mib(plain_peak)}; "
        f"{len(blocks)} blocks {format_mib(chen_peak)}, {chen_flops / plain_flops - 1:+.2%}\n"
    )
    print("| budget | bytes | plan's peak | recomputed | compilations | Rotor's peak | recomputed | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for fraction in (0.01, 0.05, *FRACTIONS):
        loss, plan = remat_to_budget(compute_marked_loss, weights, image, budget=fraction, target=counting)
        peak, flops = measure_plan(loss)
        cells = [f"{fraction:.0%}", format_mib(plan.budget_bytes), format_mib(peak), f"{flops / plain_flops - 1:+.2%}"]
        first_over = bisect_right(schedule_numbers, plan.budget_bytes, key=lambda number: measure_schedule(number)[0])
        tried = [measure_schedule(number) for number in schedule_numbers[max(0, first_over - 1) : first_over + NEAR]]
        fitting = [(flops, peak) for peak, flops in tried if peak <= plan.budget_bytes]
        if fitting:
            rotor_flops, rotor_peak = min(fitting)
            rotor = [format_mib(rotor_peak), f"{rotor_flops / plain_flops - 1:+.2%}"]
            rotor.append(f"{(flops - rotor_flops) / plain_flops:+.2%}")
        else:
            rotor = ["over", "–", "–"]
        print(f"| {' | '.join([*cells, str(len(plan.compiled)), *rotor])} |", flush=True)


if __name__ == "__main__":
    main()
