"""Compare memory plans with the named strategies, at fixed budgets and at the peak of each strategy.

    python examples/memory_budget.py --layers scan,unroll --depth 8 --width 128 --batch 4 --sequence 64
    python examples/memory_budget.py --target gpu:h100,tpu:v5e --dtype bfloat16 --width 1024 --batch 8 --sequence 1024

Prints two tables per target and form of the layers. The first has budgets at 10, 25, 50 and 75 % of the way from the
leanest plan to no rematerialization. In the second, the budget is the compiled peak of a named strategy, and the chosen
plan stands next to that strategy.

On the local target, steps are timed in fresh processes, in turn (A B C A B C …). The interval is a bootstrap 95 %
interval of the ratio of the step times. On AOT targets, the step time is an estimate (roofline).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from artifex_bench.core.case import LOCAL, RematCase
from artifex_bench.core.grid import expand_grid, with_baselines
from artifex_bench.core.record import Record
from artifex_bench.core.results import group_by_case, values_by_round
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.stats import bootstrap_ratios, pooled_median
from artifex_bench.integrations.benchmark import measure_run
from artifex_bench.targets import parse_target

NAMED = ("all", "every-2", "attention-only", "mlp-only", "dots_saveable", "dots_with_no_batch_dims_saveable")
FRACTIONS = ("0.1", "0.25", "0.5", "0.75")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="scan,unroll", help="comma-separated: scan, unroll")
    parser.add_argument("--target", default=LOCAL, help="comma-separated: local, gpu:h100, tpu:v5e and so on")
    for name, default in (("model", "transformer"), ("dtype", "float32")):
        parser.add_argument(f"--{name}", default=default)
    sizes = {"depth": 8, "width": 128, "batch": 4, "sequence": 64, "heads": 4}
    for name, size in (*sizes.items(), ("rounds", 3), ("steps", 10)):
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    shape = {name: getattr(options, name) for name in ("model", *sizes, "dtype")}
    for target in options.target.split(","):
        for layers in options.layers.split(","):
            axes = {**shape, "layers": layers, "target": parse_target(target)}
            print_tables(axes, options.rounds, options.steps)


def print_tables(axes: dict[str, object], rounds: int, steps: int) -> None:
    """Print both tables of one shape."""
    compiled_only = measure_strategies(axes, NAMED, 1, 0)  # their peaks are the budgets of the second table
    peaks = {name: int(records[0].value("compiled_peak_bytes") or 0) for name, records in compiled_only.items()}
    at_peak = {name: f"budget-{peak}" for name, peak in peaks.items() if name in NAMED}
    strategies = (*NAMED, *(f"budget-{fraction}" for fraction in FRACTIONS), *at_peak.values())
    measured = measure_strategies(axes, strategies, rounds, steps)
    none = measured["none"]
    print(f"\n### {' '.join(f'{axis}={value}' for axis, value in axes.items())}\n")
    print("| budget | bytes | plan | compiled peak | met | predicted | compilations | recomputed | step |")
    print("|---|---|---|---|---|---|---|---|---|")
    for fraction in FRACTIONS:
        print(format_budget_row(f"{float(fraction):.0%}", measured[f"budget-{fraction}"], none))
    print(
        "\n| strategy | its peak | recomputed | step | estimated to add "
        "| plan | its peak | recomputed | step | estimated to add | plan / strategy | 95 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name, budget in at_peak.items():
        planned, named = measured[budget], measured[name]
        probe = planned[0].get("budget_bytes")
        plan = probe.detail if probe else {"plan": "–", "named_strategies": [], "extra_seconds": None}
        added = {estimate["plan"]: estimate["extra_seconds"] for estimate in plan["named_strategies"]}
        cells = [name, *format_figures(named, none), format_added_time(added.get(name))]
        cells += [plan["plan"], *format_figures(planned, none), format_added_time(plan["extra_seconds"])]
        print(f"| {' | '.join([*cells, *format_time_ratio(planned, named)])} |")


def measure_strategies(
    axes: dict[str, object], strategies: Sequence[str], rounds: int, steps: int
) -> dict[str, list[Record]]:
    """Measure strategies and the baseline `none`. Returns {strategy: records of its jobs}."""
    grid = with_baselines(expand_grid(RematCase, **axes, strategy=list(strategies)))
    records = measure_run(RunSpec("memory_budget", grid, rounds, steps))
    return {case.strategy: jobs for case, jobs in group_by_case(records).items() if isinstance(case, RematCase)}


def format_budget_row(budget: str, planned: list[Record], none: list[Record]) -> str:
    """Return the table row of a budget: the chosen plan with its figures, or why there is none."""
    probe = planned[0].get("budget_bytes")
    if probe is None:
        return f"| {budget} | {planned[0].status}: {planned[0].reason} |"
    plan = probe.detail
    met = (planned[0].value("compiled_peak_bytes") or np.inf) <= probe.values[0]
    predicted = format_mib(plan["predicted_peak"]) if plan["predicted_peak"] else "–"
    peak, recomputed, step = format_figures(planned, none)
    cells = [budget, format_mib(probe.values[0]), plan["plan"], peak, "yes" if met else "NO", predicted]
    return f"| {' | '.join([*cells, str(len(plan['compiled'])), recomputed, step])} |"


def format_figures(records: list[Record], none: list[Record]) -> list[str]:
    """Return compiled peak, recomputed FLOPs as a share of those of `none`, and step time."""
    peak, flops = records[0].value("compiled_peak_bytes"), records[0].value("gradient_flops")
    none_flops = none[0].value("gradient_flops")
    if peak is None or flops is None or none_flops is None:
        return [records[0].status, "–", "–"]
    step = compute_step_seconds(records)
    return [format_mib(peak), f"{flops / none_flops - 1:+.1%}", f"{1e3 * step:.1f} ms" if step else "–"]


def compute_step_seconds(records: list[Record]) -> float | None:
    """Return the median step time, or the estimated one if no step was timed."""
    steps = values_by_round(records, "step_seconds")
    return pooled_median(steps) if steps else records[0].value("estimated_step_seconds")


def format_time_ratio(planned: list[Record], named: list[Record]) -> list[str]:
    """Return the ratio of the step times, and its interval if both were timed."""
    planned_seconds, named_seconds = compute_step_seconds(planned), compute_step_seconds(named)
    if not planned_seconds or not named_seconds:
        return ["–", "–"]
    timed = values_by_round(planned, "step_seconds"), values_by_round(named, "step_seconds")
    ratios = bootstrap_ratios(*timed) if all(timed) else None
    interval = "–" if ratios is None else " … ".join(f"{q:.2f}" for q in np.quantile(ratios, (0.025, 0.975)))
    return [f"{planned_seconds / named_seconds:.3f}", interval]


def format_added_time(seconds: float | None) -> str:
    """Return the time that a plan adds to a step by the planner's own rates."""
    return "–" if seconds is None else f"{1e3 * seconds:.2f} ms"


def format_mib(size: float) -> str:
    return f"{size / 2**20:.2f} MiB"


if __name__ == "__main__":
    main()
