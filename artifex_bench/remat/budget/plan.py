"""What came of planning, for people (`str`) and programs (`to_json`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from artifex_bench.remat.budget.pool import Candidate, Kind
from artifex_bench.remat.budget.size import Budget, readable
from artifex_bench.remat.budget.stacks import Choice, Plain
from artifex_bench.remat.strategies import Policy

SHOWN = 8  # values of a group that are told one by one


@dataclass(frozen=True)
class Tried:
    """A candidate that was compiled: the peak predicted just before (None for the first), and the true one: bytes."""

    candidate: Candidate
    predicted: float | None
    peak: int


@dataclass(frozen=True)
class Kept:
    """A value of one layer: its own name or operation, shape, source line, and bytes in each layer."""

    label: str
    shape: str
    line: str
    bytes: int


@dataclass(frozen=True)
class Group:
    """So many layers of a stack, treated alike: what is saved for the backward pass, what is computed again in it."""

    stack: str
    layers: int
    choice: str
    saved: tuple[Kept, ...]
    recomputed: tuple[Kept, ...]
    recomputed_flops: float


@dataclass(frozen=True)
class BudgetPlan:
    """The plan that meets a budget. Bytes, FLOPs and seconds are of a whole step.

    `compiled_peak` is the compiler's own plan of what runs; `predicted_peak` what was expected just before it was
    compiled. `extra_seconds` is an estimate from the target's rates: of computing again and of keeping what is saved.
    """

    budget: str
    budget_bytes: int
    target: str
    compiled_peak: int
    predicted_peak: int | None
    least_peak: int
    extra_flops: float
    extra_seconds: float
    groups: tuple[Group, ...]
    compiled: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [
            f"budget {self.budget} on {self.target}: {readable(self.budget_bytes)}; compiled peak "
            f"{readable(self.compiled_peak)}"
            + (f" (predicted {readable(self.predicted_peak)})" if self.predicted_peak else ""),
            f"  {len(self.compiled)} compilations, the least peak {readable(self.least_peak)}; computed again: "
            f"{self.extra_flops / 1e9:.3g} GFLOP a step",
        ]
        for group in self.groups:
            lines.append(f"  {group.stack}, {group.layers} layers: {group.choice}")
            lines += _told("saved", group.saved) + _told("computed again", group.recomputed)
        return "\n".join(lines)


def _told(what: str, values: tuple[Kept, ...]) -> list[str]:
    total = sum(value.bytes for value in values)
    lines = [f"    {what}: {len(values)} values, {readable(total)} a layer"]
    largest = sorted(values, key=lambda value: -value.bytes)
    lines += [f"      {v.label} {v.shape}, {readable(v.bytes)}, {v.line}" for v in largest[:SHOWN]]
    return lines + ([f"      and {len(largest) - SHOWN} smaller ones"] if len(largest) > SHOWN else [])


def describe(
    found: Tried, tried: Sequence[Tried], limit: float, budget: Budget, target: str, kinds: Sequence[Kind]
) -> BudgetPlan:
    """The plan of what was found."""
    groups = tuple(
        _group(kind, count, choice) for kind in kinds for count, choice in found.candidate.groups[kind.stack.name]
    )
    return BudgetPlan(
        budget.text,
        int(limit),
        target,
        found.peak,
        None if found.predicted is None else round(found.predicted),
        min(t.peak for t in tried),
        found.candidate.flops,
        found.candidate.seconds,
        groups,
        tuple(
            {
                "plan": t.candidate.label,
                "predicted": None if t.predicted is None else round(t.predicted),
                "peak": t.peak,
            }
            for t in tried
        ),
    )


def _group(kind: Kind, count: int, choice: Choice) -> Group:
    graph, saved = kind.graph, kind.saved(choice)
    again = set() if isinstance(choice, Plain) else graph.again(saved)
    words = "no rematerialization" if isinstance(choice, Plain) else "chosen values saved"

    def kept(values: Sequence[int]) -> tuple[Kept, ...]:
        chosen = (graph.values[v] for v in values)
        return tuple(Kept(v.label, v.shape, v.line, int(v.bytes)) for v in chosen)

    return Group(
        kind.stack.name,
        count,
        choice.name if isinstance(choice, Policy) else words,
        kept(sorted(saved)),
        kept([v for v, value in enumerate(graph.values) if value.op in again]),
        0.0 if isinstance(choice, Plain) else graph.flops(saved),
    )
