"""Budgets on a target, beside the policies that one would choose by hand.

    python examples/memory_budget.py --layers scan,unroll --depth 8 --width 128 --batch 4 --sequence 64
    python examples/memory_budget.py --target gpu:h100,tpu:v5e --dtype bfloat16 --width 1024 --batch 8 --sequence 1024

Prints two tables for each: budgets at 10, 25, 50 and 75 % of the way from the leanest plan to no rematerialization,
and a plan at the peak of each strategy chosen by hand, beside that strategy. Peaks are the compiler's. On the attached
device steps are timed in fresh processes, in turn (A B C A B C …), and an interval is a bootstrap 95 % of the ratio to
the one by hand; of a device that is not there the step is an estimate (roofline).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from artifex_bench.core.case import RematCase
from artifex_bench.core.grid import expand_grid, with_baselines
from artifex_bench.core.record import Record
from artifex_bench.core.results import group_by_case, values_by_round
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.stats import bootstrap_ratios, pooled_median
from artifex_bench.integrations.benchmark import measure_run
from artifex_bench.targets import parse_target

BY_HAND = ("all", "every-2", "attention-only", "mlp-only", "dots_saveable", "dots_with_no_batch_dims_saveable")
FRACTIONS = ("0.1", "0.25", "0.5", "0.75")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="scan,unroll")
    parser.add_argument("--target", default="cpu")
    for name, default in (("model", "transformer"), ("dtype", "float32")):
        parser.add_argument(f"--{name}", default=default)
    sizes = {"depth": 8, "width": 128, "batch": 4, "sequence": 64, "heads": 4}
    for name, size in (*sizes.items(), ("rounds", 3), ("steps", 10)):
        parser.add_argument(f"--{name}", type=int, default=size)
    given = parser.parse_args()
    shape = {name: getattr(given, name) for name in ("model", *sizes, "dtype")}
    for target in given.target.split(","):
        for layers in given.layers.split(","):
            compare({**shape, "layers": layers, "target": parse_target(target)}, given.rounds, given.steps)


def compare(shape: dict[str, object], rounds: int, steps: int) -> None:
    """Print the tables of one shape."""
    by_hand = sweep(shape, BY_HAND, 1, 0)  # compiled only: the budgets that are to be met
    peaks = {name: int(jobs[0].value("compiled_peak_bytes") or 0) for name, jobs in by_hand.items()}
    at = {name: f"budget-{peak}" for name, peak in peaks.items() if name in BY_HAND}
    found = sweep(shape, (*BY_HAND, *(f"budget-{f}" for f in FRACTIONS), *at.values()), rounds, steps)
    print(f"\n### {' '.join(f'{axis}={value}' for axis, value in shape.items())}\n")
    print("| budget | bytes | taken | compiled peak | met | predicted | compilations | recomputed | step |")
    print("|---|---|---|---|---|---|---|---|---|")
    for fraction in FRACTIONS:
        print(row(f"{float(fraction):.0%}", found[f"budget-{fraction}"], found["none"]))
    print(
        "\n| by hand | its peak | recomputed | step | adds by the rates "
        "| taken | its peak | recomputed | step | adds by the rates | step / by hand | 95 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name, strategy in at.items():
        mine, theirs = found[strategy], found[name]
        asked = mine[0].get("budget_bytes")
        plan = asked.detail if asked else {"plan": "–", "named_strategies": [], "extra_seconds": None}
        rates = {one["plan"]: one["extra_seconds"] for one in plan["named_strategies"]}
        cells = [name, *told(theirs, found["none"]), added(rates.get(name))]
        cells += [plan["plan"], *told(mine, found["none"]), added(plan["extra_seconds"]), *compared(mine, theirs)]
        print(f"| {' | '.join(cells)} |")


def sweep(shape: dict[str, object], strategies: Sequence[str], rounds: int, steps: int) -> dict[str, list[Record]]:
    """{strategy: the records of its jobs}; the reference `none` comes along."""
    grid = with_baselines(expand_grid(RematCase, **shape, strategy=list(strategies)))
    records = measure_run(RunSpec("memory_budget", grid, rounds, steps))
    return {case.strategy: jobs for case, jobs in group_by_case(records).items() if isinstance(case, RematCase)}


def row(budget: str, jobs: list[Record], plain: list[Record]) -> str:
    """A budget and what came of it."""
    asked = jobs[0].get("budget_bytes")
    if asked is None:
        return f"| {budget} | {jobs[0].status}: {jobs[0].reason} |"
    plan = asked.detail
    met = (jobs[0].value("compiled_peak_bytes") or np.inf) <= asked.values[0]
    predicted = mib(plan["predicted_peak"]) if plan["predicted_peak"] else "–"
    peak, recomputed, step = told(jobs, plain)
    cells = [
        budget,
        mib(asked.values[0]),
        plan["plan"],
        peak,
        "yes" if met else "NO",
        predicted,
        str(len(plan["compiled"])),
    ]
    return f"| {' | '.join([*cells, recomputed, step])} |"


def told(jobs: list[Record], plain: list[Record]) -> list[str]:
    """Compiled peak, FLOPs on top of the plain step's, and the median step."""
    peak, flops, model = (
        jobs[0].value("compiled_peak_bytes"),
        jobs[0].value("gradient_flops"),
        plain[0].value("gradient_flops"),
    )
    if peak is None or flops is None or model is None:
        return [jobs[0].status, "–", "–"]
    step = seconds(jobs)
    return [mib(peak), f"{flops / model - 1:+.1%}", f"{1e3 * step:.1f} ms" if step else "–"]


def seconds(jobs: list[Record]) -> float | None:
    """The median step, or the estimate of it for a device that is not there."""
    steps = values_by_round(jobs, "step_seconds")
    return pooled_median(steps) if steps else jobs[0].value("estimated_step_seconds")


def compared(mine: list[Record], theirs: list[Record]) -> list[str]:
    """The ratio of the steps, with its interval where they were timed."""
    ours, others = seconds(mine), seconds(theirs)
    if not ours or not others:
        return ["–", "–"]
    timed = values_by_round(mine, "step_seconds"), values_by_round(theirs, "step_seconds")
    ratios = bootstrap_ratios(*timed) if all(timed) else None
    interval = "–" if ratios is None else " … ".join(f"{q:.2f}" for q in np.quantile(ratios, (0.025, 0.975)))
    return [f"{ours / others:.3f}", interval]


def added(seconds: float | None) -> str:
    """What a plan adds to a step by the rates that it was chosen by."""
    return "–" if seconds is None else f"{1e3 * seconds:.2f} ms"


def mib(size: float) -> str:
    return f"{size / 2**20:.2f} MiB"


if __name__ == "__main__":
    main()
