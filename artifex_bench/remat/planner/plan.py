"""BudgetPlan: the memory plan that `remat_to_budget` returns, as text (`str`) and as JSON (`to_json`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from artifex_bench.remat.planner.budget import Budget
from artifex_bench.remat.planner.candidates import list_named_strategies
from artifex_bench.remat.planner.layer_choice import Part, find_parts
from artifex_bench.remat.planner.layer_kinds import LayerKind
from artifex_bench.remat.planner.plan_text import format_plan
from artifex_bench.remat.planner.trial import Trial, estimates_to_json


@dataclass(frozen=True)
class LayerValue:
    """An intermediate of one layer.

    Attributes:
        label: The user's own `checkpoint_name`, else the primitive.
        shape: Dtype and shape, such as ``f32[6,8]``.
        line: Source file, line and function.
        bytes: Its size in each layer.
    """

    label: str
    shape: str
    line: str
    bytes: int


@dataclass(frozen=True)
class PlanGroup:
    """Layers of a stack that are treated alike.

    Attributes:
        stack: Name of the stack.
        layers: Number of layers.
        choice: How they are rematerialized, in a few words.
        saved: Residuals of each layer in device memory.
        offloaded: Residuals of each layer in host memory.
        recomputed: Values that the backward pass of each layer recomputes.
        recomputed_flops: FLOPs of that recomputation per layer.
    """

    stack: str
    layers: int
    choice: str
    saved: tuple[LayerValue, ...]
    offloaded: tuple[LayerValue, ...]
    recomputed: tuple[LayerValue, ...]
    recomputed_flops: float


@dataclass(frozen=True)
class BudgetPlan:
    """The memory plan that meets a budget. Bytes, FLOPs and seconds are those of a whole step.

    Attributes:
        budget: The budget as it was given.
        budget_bytes: The budget in bytes.
        target: Name of the target that the plan was compiled for.
        plan: Label of the chosen candidate: ``plan``, ``mixture``, or a strategy's name.
        compiled_peak: Compiled peak of the step, with `compiler_options`.
        predicted_peak: Peak predicted just before it was compiled; None if it was the first to be compiled.
        least_peak: Lowest peak of all candidates that were compiled.
        extra_flops: FLOPs of recomputation.
        extra_seconds: Estimated seconds of recomputation and of writing and reading residuals, by the target's rates.
            None if the rate of a product's dtype is unknown (`unrated_dtypes`).
        measured_seconds: Seconds of each run; empty if the step was not run.
        groups: Layers that are treated alike, with what they save and recompute.
        compiled: All candidates that were compiled, in order, as JSON values.
        named_strategies: Estimates of all strategies that have a name, compiled or not.
        compiler_options: XLA options with which `compiled_peak` holds.
        unrated_dtypes: Dtypes of matrix products whose rate on the target is unknown.
        undercut_by: A candidate that recomputes less and has no higher peak (predicted unless ``compiled``), so that
            the plan is better by its seconds alone; None if there is none.
    """

    budget: str
    budget_bytes: int
    target: str
    plan: str
    compiled_peak: int
    predicted_peak: int | None
    least_peak: int
    extra_flops: float
    extra_seconds: float | None
    measured_seconds: tuple[float, ...]
    groups: tuple[PlanGroup, ...]
    compiled: tuple[dict[str, Any], ...]
    named_strategies: tuple[dict[str, Any], ...]
    compiler_options: Mapping[str, Any] = field(default_factory=dict)
    unrated_dtypes: tuple[str, ...] = ()
    undercut_by: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """Return the plan as text."""
        return format_plan(self)


def make_plan(
    chosen: Trial, trials: Sequence[Trial], limit: float, budget: Budget, target: str, kinds: Sequence[LayerKind]
) -> BudgetPlan:
    """Make the memory plan of a search.

    Args:
        chosen: The chosen trial.
        trials: All trials, in order.
        limit: The budget in bytes.
        budget: The budget as it was given.
        target: Name of the target.
        kinds: All kinds of layers.

    Returns:
        The plan.
    """
    groups = tuple(
        _make_group(kind, one)
        for kind in kinds
        for part in find_parts(kind, chosen.candidate.groups[kind.stack.name])
        for one in part.choice.split_alike(part)
    )
    return BudgetPlan(
        budget=budget.text,
        budget_bytes=int(limit),
        target=target,
        plan=chosen.candidate.label,
        compiled_peak=chosen.peak,
        predicted_peak=None if chosen.predicted is None else round(chosen.predicted),
        least_peak=min(trial.peak for trial in trials),
        extra_flops=chosen.candidate.flops,
        extra_seconds=chosen.candidate.seconds,
        measured_seconds=chosen.seconds,
        groups=groups,
        compiled=tuple({**trial.to_json(), "taken": trial is chosen} for trial in trials),
        named_strategies=tuple(map(estimates_to_json, list_named_strategies(kinds))),
    )


def drop_estimated_seconds(plan: BudgetPlan, dtypes: Sequence[str]) -> BudgetPlan:
    """Return the plan without estimated seconds, because the rates of products of these dtypes are unknown."""

    def drop(candidates: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple({**one, "extra_seconds": None} for one in candidates)

    return replace(
        plan,
        extra_seconds=None,
        unrated_dtypes=tuple(dtypes),
        compiled=drop(plan.compiled),
        named_strategies=drop(plan.named_strategies),
    )


def _make_group(kind: LayerKind, part: Part) -> PlanGroup:
    graph, choice = kind.graph, part.choice
    saved, recomputed = choice.find_saved(kind), choice.find_recomputed(kind)
    copies = {v for v, value in enumerate(graph.values) if value.copy_of is not None}

    def list_values(indices: Sequence[int]) -> tuple[LayerValue, ...]:
        values = (graph.values[v] for v in indices)
        return tuple(LayerValue(v.label, v.shape, v.line, int(v.bytes + v.host_bytes)) for v in values)

    return PlanGroup(
        stack=kind.stack.name,
        layers=len(part.places),
        choice=choice.describe(),
        saved=list_values(sorted(saved - copies)),
        offloaded=list_values(sorted(saved & copies)),
        recomputed=list_values(
            [v for v, x in enumerate(graph.values) if x.operation in recomputed and v not in copies]
        ),
        recomputed_flops=choice.estimate(kind, part).flops / len(part.places),
    )
