"""Plans against Rotor's optimal checkpointing, on ResNet-50 as a chain of stages of which few are alike.

    python examples/rotor.py --side 224 --batch 16

Rotor (Beaumont et al. 2019, https://hal.inria.fr/hal-02352969) finds by dynamic programming which inputs of a chain's
stages to keep, which stages to save whole, and which segments to run again, also more than once: the optimum of that
class, by the bytes and the costs of the stages. Its schedules are compiled for the attached device as nested
`jax.checkpoint`, as is Chen's (2016) of the square root of their number. Of those within a budget, as far as a
bisection and a few more compilations find them, the one with the fewest FLOPs is held against `remat_to_budget`, told
to count FLOPs. Exact: nothing is timed, nothing is run.
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
from chain_optimum import COUNT, FRACTIONS

from artifex_bench import remat_to_budget
from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import StepCompiler, make_step_compiler
from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.planner.choices import SaveNamed
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.inlined_program import InlinedProgram
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION
from artifex_bench.remat.planner.rewrite import rewrite_function

SLOTS = 400  # of memory, in which Rotor's program counts
NEAR = 8  # schedules that are compiled behind the first over the budget: compiled peaks are not quite in order
Stage = Callable[[Any, jax.Array], jax.Array]


def conv(kernel: jax.Array, x: jax.Array, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def norm(weights: Any, x: jax.Array) -> jax.Array:
    scale, shift = weights
    return (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5) * scale + shift


def stem(weights: Any, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(norm(weights[1], conv(weights[0], x, 2)))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def bottleneck(weights: Any, x: jax.Array, stride: int = 1) -> jax.Array:
    y = jax.nn.relu(norm(weights[1], conv(weights[0], x)))
    y = jax.nn.relu(norm(weights[3], conv(weights[2], y, stride)))
    y = norm(weights[5], conv(weights[4], y))
    short = norm(weights[7], conv(weights[6], x, stride)) if len(weights) > 6 else x
    return jax.nn.relu(y + short)


def halving(weights: Any, x: jax.Array) -> jax.Array:
    return bottleneck(weights, x, 2)


def head(weights: Any, x: jax.Array) -> jax.Array:
    return x.mean((1, 2)) @ weights[0] + weights[1]


def resnet50() -> tuple[list[Stage], list[Any]]:
    """(its stages, their weights) of He et al. 2015: batch norm as in training, without running means."""

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def unit(size: int, inner: int, outer: int) -> tuple[Any, Any]:
        return array(size, size, inner, outer), (array(outer), array(outer))

    stages: list[Stage] = [stem]
    weights: list[Any] = [unit(7, 3, 64)]
    wide = 64
    for part, many in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**part
        for number in range(many):
            short = unit(1, wide, 4 * inner) if number == 0 else ()
            weights.append((*unit(1, wide, inner), *unit(3, inner, inner), *unit(1, inner, 4 * inner), *short))
            stages.append(halving if part and number == 0 else bottleneck)
            wide = 4 * inner
    return [*stages, head], [*weights, (array(wide, 1000), array(1000))]


@dataclass(frozen=True)
class Chain:
    """Of each stage: FLOPs forward and backward, bytes of what it gives, and of all that its backward pass reads."""

    forward: list[float]
    backward: list[float]
    given: list[int]
    saved: list[int]


def chain_of(stages: Sequence[Stage], weights: Sequence[Any], x: Any) -> Chain:
    """Measured on the traces of the stages."""
    chain = Chain([], [], [], [])
    for stage, own in zip(stages, weights, strict=True):

        def total(own: Any, x: Any, stage: Stage = stage) -> jax.Array:
            return jnp.sum(stage(own, x))

        def observe(name: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
            graph = build_graph(prefix, jvp, COUNT.make_rates())
            chain.saved.append(int(graph.count_bytes(graph.find_materialized())))

        both = (0, 1)
        forward = count_flops(jax.make_jaxpr(total)(own, x))
        jax.make_jaxpr(
            jax.grad(rewrite_function(total, {WHOLE_FUNCTION: ((1, SaveNamed(frozenset())),)}, observe), both)
        )(own, x)
        chain.forward.append(forward)
        chain.backward.append(count_flops(jax.make_jaxpr(jax.value_and_grad(total, both))(own, x)) - forward)
        x = jax.eval_shape(stage, own, x)
        chain.given.append(x.size * x.dtype.itemsize)
    return chain


Schedule = tuple[Any, ...]  # ("save", a stage, the rest), ("again", a schedule of its own, the rest), () at the end
Best = tuple[float, Schedule]  # FLOPs, and the schedule


def rotor(chain: Chain) -> list[Schedule]:
    """The fastest schedules for ever more bytes beside the input (theorem 1 of the paper)."""
    unit = 1.1 * sum(chain.saved) / SLOTS
    given, saved = (np.ceil(np.array(sizes) / unit).astype(int).tolist() for sizes in (chain.given, chain.saved))
    before, last = [0.0, *accumulate(chain.forward)], len(chain.forward) - 1

    @cache
    def best(start: int, stop: int, room: int) -> Best | None:
        """Of the stages from start to stop, whose input is there: run, and differentiated."""
        found: list[Best] = []
        if saved[start] + given[stop] <= room:  # what it saves, and the gradient that comes back
            mine = chain.forward[start] + chain.backward[start]
            rest = best(start + 1, stop, room - saved[start]) if start < stop else (0.0, ())
            if rest:
                found.append((mine + rest[0], ("save", start, rest[1])))
        for cut in range(start + 1, stop + 1):
            rest, first = best(cut, stop, room - given[cut - 1]), best(start, cut - 1, room)
            if rest and first:
                found.append((before[cut] - before[start] + first[0] + rest[0], ("again", first[1], rest[1])))
        return min(found, default=None, key=lambda one: one[0])

    found = (best(0, last, room) for room in range(SLOTS))
    return list(dict.fromkeys(one[1] for one in found if one))


def scheduled(stages: Sequence[Stage], schedule: Schedule) -> Callable[[Sequence[Any], jax.Array], jax.Array]:
    """The chain, run so."""

    def run(weights: Sequence[Any], x: jax.Array, schedule: Schedule = schedule) -> jax.Array:
        while schedule:
            kind, what, schedule = schedule
            if kind == "save":
                x = stages[what](weights[what], x)
            else:
                x = jax.checkpoint(lambda weights, x, what=what: run(weights, x, what))(weights, x)
        return x

    return lambda weights, x: jnp.sum(run(weights, x) ** 2)


def saving(stages: Sequence[int]) -> Schedule:
    """All of those stages saved whole."""
    return ("save", stages[0], saving(stages[1:])) if stages else ()


def in_blocks(blocks: Sequence[Sequence[int]]) -> Schedule:
    """Chen's: each block run again as one."""
    return ("again", saving(blocks[0]), in_blocks(blocks[1:])) if blocks else ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    stages, weights = resnet50()
    image = jax.ShapeDtypeStruct((given.batch, given.side, given.side, 3), jnp.float32)
    here = make_step_compiler(LOCAL)
    counting = StepCompiler(here.name, COUNT, here.build)

    def marked(weights: Sequence[Any], x: jax.Array) -> jax.Array:
        for stage, own in zip(stages, weights, strict=True):
            x = jax.checkpoint(stage)(own, x)
        return jnp.sum(x**2)

    def figures(loss: Callable[..., Any]) -> tuple[int, float]:
        gradient = jax.value_and_grad(loss)
        return here.build(gradient, (weights, image), ()).peak, count_flops(jax.make_jaxpr(gradient)(weights, image))

    every = range(len(stages))
    schedules = rotor(chain_of(stages, weights, image))
    every_schedule = range(len(schedules))
    compiled = cache(lambda number: figures(scheduled(stages, schedules[number])))
    most, model = figures(scheduled(stages, saving(every)))
    blocks = np.array_split(every, round(len(every) ** 0.5))
    peak, chen = figures(scheduled(stages, in_blocks([block.tolist() for block in blocks])))
    print(f"without rematerialization {mib(most)}; {len(blocks)} blocks {mib(peak)}, {chen / model - 1:+.2%}\n")
    print("| budget | bytes | plan's peak | recomputed | compilations | Rotor's peak | recomputed | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for fraction in (0.01, 0.05, *FRACTIONS):
        loss, plan = remat_to_budget(marked, weights, image, budget=fraction, target=counting)
        peak, mine = figures(loss)
        fitting = bisect_right(every_schedule, plan.budget_bytes, key=lambda number: compiled(number)[0])
        tried = [compiled(n) for n in every_schedule[max(0, fitting - 1) : fitting + NEAR]]
        cells = [
            f"{fraction:.0%}",
            mib(plan.budget_bytes),
            mib(peak),
            f"{mine / model - 1:+.2%}",
            str(len(plan.compiled)),
        ]
        least, at = min(((flop, peak) for peak, flop in tried if peak <= plan.budget_bytes), default=(model, None))
        theirs = [mib(at), f"{least / model - 1:+.2%}", f"{(mine - least) / model:+.2%}"] if at else ["over", "–", "–"]
        print(f"| {' | '.join([*cells, *theirs])} |", flush=True)


def mib(size: float) -> str:
    return f"{size / 2**20:.2f} MiB"


if __name__ == "__main__":
    main()
