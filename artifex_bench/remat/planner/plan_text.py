"""format_plan: a memory plan as text, for people to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.remat.planner.budget import format_bytes
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION

if TYPE_CHECKING:
    from artifex_bench.remat.planner.plan import BudgetPlan, LayerValue, PlanGroup

SHOWN_VALUES = 8  # of each list of values, the largest; a choice, so that a group stays within a screen


def format_plan(plan: BudgetPlan) -> str:
    """Format a memory plan: the budget and the peaks, every compiled candidate, and what each group of layers saves."""
    predicted = f" (predicted {format_bytes(plan.predicted_peak)})" if plan.predicted_peak else ""
    lines = [
        f"budget {plan.budget} on {plan.target}: {format_bytes(plan.budget_bytes)}; "
        f"compiled peak {format_bytes(plan.compiled_peak)}{predicted}",
        f"  chosen: {plan.plan}, which recomputes {plan.extra_flops / 1e9:.3g} GFLOP per step",
        f"  {_count(len(plan.compiled), 'compilation')}, lowest peak {format_bytes(plan.least_peak)}; estimated times "
        f"are those of recomputation and of writing and reading residuals ({PUBLISHED_STEPS})",
    ]
    lines += [f"    {_format_candidate(one)}" for one in plan.compiled]
    if plan.undercut_by:
        lines.append(f"  {_format_undercut(plan, plan.undercut_by)}")
    if plan.unrated_dtypes:
        lines.append(
            f"  no estimated times: the rate of {' and '.join(plan.unrated_dtypes)} products is unknown, "
            "so the plans are ranked by the slowest known rate"
        )
    if any(group.stack == WHOLE_FUNCTION for group in plan.groups):
        lines.append("  no layers found: put repeated parts under jax.checkpoint, and each is planned by itself")
    for group in plan.groups:
        lines += _format_group(group)
    return "\n".join(lines)


def _format_candidate(one: Mapping[str, Any]) -> str:
    refused = " requested, refused by the compiler" if one["refused"] else ""
    text = f"{one['plan']}: {format_bytes(one['peak'])}{refused}, +{one['extra_flops'] / 1e9:.3g} GFLOP"
    text += "" if one["extra_seconds"] is None else f", estimated +{1e3 * one['extra_seconds']:.3g} ms"
    times = one["measured_seconds"]
    text += f", measured {1e3 * min(times):.3g} ms per step" if times else ""
    return f"{text}: chosen" if one["taken"] else text


def _format_undercut(plan: BudgetPlan, other: Mapping[str, Any]) -> str:
    """Format why the plan was chosen although another candidate recomputes less with no higher peak."""
    peak = f"{'' if other['compiled'] else 'predicted '}peak of {format_bytes(other['peak'])}"
    text = f"{other['plan']} recomputes less (+{other['extra_flops'] / 1e9:.3g} GFLOP) with a {peak}"
    if plan.measured_seconds:
        return f"{text}; {plan.plan} was measured faster"
    if plan.extra_seconds is None:
        return f"{text}; {plan.plan} writes and reads less"
    faster = 1e3 * (other["extra_seconds"] - plan.extra_seconds)
    return f"{text}; {plan.plan} is an estimated {faster:.3g} ms faster, because it writes and reads less"


def _format_group(group: PlanGroup) -> list[str]:
    lines = [f"  {group.stack}, {_count(group.layers, 'layer')}: {group.choice}"]
    lines += _format_values("saved", group.saved)
    lines += _format_values("saved in host memory", group.offloaded) if group.offloaded else []
    return lines + _format_values("recomputed", group.recomputed)


def _format_values(heading: str, values: Sequence[LayerValue]) -> list[str]:
    total = sum(value.bytes for value in values)
    lines = [f"    {heading}: {_count(len(values), 'value')}, {format_bytes(total)} per layer"]
    largest = sorted(values, key=lambda value: -value.bytes)
    lines += [f"      {v.label} {v.shape}, {format_bytes(v.bytes)}, {v.line}" for v in largest[:SHOWN_VALUES]]
    return lines + ([f"      and {len(largest) - SHOWN_VALUES} more"] if len(largest) > SHOWN_VALUES else [])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
