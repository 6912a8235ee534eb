"""What came of planning, for people (`str`) and programs (`to_json`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.remat.planner.estimate import Candidate, estimated
from artifex_bench.remat.planner.kinds import Kind, Part
from artifex_bench.remat.planner.pool import by_hand
from artifex_bench.remat.planner.size import Budget, readable
from artifex_bench.remat.planner.stacks import WHOLE, Choice, Plain, apart
from artifex_bench.remat.strategies import Plan, Policy

SHOWN = 8  # values of a group that are told one by one


@dataclass(frozen=True)
class Built:
    """What a target made of a program: its peak in bytes, and one run of it, which gives its seconds (None: it cannot
    be run here). `refused`: the compiler gave no program, and the peak is what it asked for.
    """

    peak: int
    run: Callable[[], float] | None = None
    refused: bool = False


@dataclass(frozen=True)
class Tried:
    """A candidate that was compiled: the peak predicted just before (None for the first), what it came to, and the
    seconds of its runs, where it was run.
    """

    candidate: Candidate
    predicted: float | None
    built: Built
    seconds: tuple[float, ...] = ()

    @property
    def peak(self) -> int:
        return self.built.peak

    def fits(self, limit: float) -> bool:
        """Whether there is a program, whose peak is no more than that."""
        return not self.built.refused and self.peak <= limit

    def told(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **estimates(self.candidate),
            "predicted": None if self.predicted is None else round(self.predicted),
            "peak": self.peak,
            "refused": self.built.refused,
            "measured_seconds": list(self.seconds),
        }


@dataclass(frozen=True)
class Kept:
    """A value of one layer: its own name or operation, shape, source line, and bytes in each layer."""

    label: str
    shape: str
    line: str
    bytes: int


@dataclass(frozen=True)
class Group:
    """So many layers of a stack, treated alike: what is saved for the backward pass, what is kept in the host's memory
    for it, what is computed again in it.
    """

    stack: str
    layers: int
    choice: str
    saved: tuple[Kept, ...]
    offloaded: tuple[Kept, ...]
    recomputed: tuple[Kept, ...]
    recomputed_flops: float


@dataclass(frozen=True)
class BudgetPlan:
    """The plan that meets a budget. Bytes, FLOPs and seconds are of a whole step.

    `compiled_peak` is the compiler's own plan of what runs; `predicted_peak` what was expected just before it was
    compiled, with `compiler_options`. `extra_seconds` is an estimate from the target's rates: of computing again and of
    keeping what is saved, and None where the rate of a product's dtype is not known (`no_rate`). `plan` names the
    candidate chosen, `measured_seconds` are of its runs (none where it was not run), and `compiled` holds every
    candidate that was compiled, in order, with the same figures. `by_hand` has the estimates of all that one would
    choose by name, compiled or not. `undercut_by` is there if another candidate computes less again than the plan and
    has no more peak (predicted, unless `compiled`): then the plan wins by its seconds alone.
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
    groups: tuple[Group, ...]
    compiled: tuple[dict[str, Any], ...]
    by_hand: tuple[dict[str, Any], ...]
    compiler_options: Mapping[str, Any] = field(default_factory=dict)
    no_rate: tuple[str, ...] = ()
    undercut_by: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [
            f"budget {self.budget} on {self.target}: {readable(self.budget_bytes)}; compiled peak "
            f"{readable(self.compiled_peak)}"
            + (f" (predicted {readable(self.predicted_peak)})" if self.predicted_peak else ""),
            f"  taken: {self.plan}, with {self.extra_flops / 1e9:.3g} GFLOP a step computed again; "
            f"{len(self.compiled)} compilations, the least peak {readable(self.least_peak)}; estimates are of "
            "computing again, and of writing and reading what is saved "
            f"({PUBLISHED_STEPS})",
        ]
        lines += [f"    {_line(one)}" for one in self.compiled]
        if self.undercut_by:
            lines.append(f"  {_won(self)}")
        if self.no_rate:
            lines.append(
                f"  no times are estimated: the rate of {' and '.join(self.no_rate)} products is not known; plans are "
                "ranked by the slowest rate that is"
            )
        if any(group.stack == WHOLE for group in self.groups):
            lines.append("  no layers were found: put parts under jax.checkpoint, and each is planned by itself")
        for group in self.groups:
            lines.append(f"  {group.stack}, {_many(group.layers, 'layer')}: {group.choice}")
            lines += _told("saved", group.saved)
            lines += _told("kept on the host", group.offloaded) if group.offloaded else []
            lines += _told("computed again", group.recomputed)
        return "\n".join(lines)


def _line(one: dict[str, Any]) -> str:
    refused = " asked for, and refused by the compiler" if one["refused"] else ""
    words = f"{one['plan']}: {readable(one['peak'])}{refused}, +{one['extra_flops'] / 1e9:.3g} GFLOP"
    words += "" if one["extra_seconds"] is None else f", estimated +{1e3 * one['extra_seconds']:.3g} ms"
    times = one["measured_seconds"]
    words += f", measured {1e3 * min(times):.3g} ms a step" if times else ""
    return f"{words}: taken" if one["taken"] else words


def _won(plan: BudgetPlan) -> str:
    """What the plan wins over the candidate that undercuts it."""
    other = plan.undercut_by
    assert other is not None
    peak = f"{readable(other['peak'])}{'' if other['compiled'] else ' predicted'}"
    words = f"{other['plan']} computes less again (+{other['extra_flops'] / 1e9:.3g} GFLOP) with a peak of {peak}"
    if plan.measured_seconds:
        return f"{words}; {plan.plan} was measured faster"
    if plan.extra_seconds is None:
        return f"{words}; {plan.plan} reads and writes less"
    faster = 1e3 * (other["extra_seconds"] - plan.extra_seconds)
    return f"{words}; {plan.plan} is an estimated {faster:.3g} ms faster, because it reads and writes less"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _told(what: str, values: tuple[Kept, ...]) -> list[str]:
    total = sum(value.bytes for value in values)
    lines = [f"    {what}: {_many(len(values), 'value')}, {readable(total)} a layer"]
    largest = sorted(values, key=lambda value: -value.bytes)
    lines += [f"      {v.label} {v.shape}, {readable(v.bytes)}, {v.line}" for v in largest[:SHOWN]]
    return lines + ([f"      and {len(largest) - SHOWN} more"] if len(largest) > SHOWN else [])


def describe(
    found: Tried, tried: Sequence[Tried], limit: float, budget: Budget, target: str, kinds: Sequence[Kind]
) -> BudgetPlan:
    """The plan of what was found."""
    groups = tuple(
        _group(kind, one)
        for kind in kinds
        for part in kind.under(found.candidate.groups[kind.stack.name])
        for one in _alike(part)
    )
    return BudgetPlan(
        budget.text,
        int(limit),
        target,
        found.candidate.label,
        found.peak,
        None if found.predicted is None else round(found.predicted),
        min(t.peak for t in tried),
        found.candidate.flops,
        found.candidate.seconds,
        found.seconds,
        groups,
        tuple({**t.told(), "taken": t is found} for t in tried),
        tuple(estimates(one) for one in by_hand(kinds)),
    )


def without_seconds(plan: BudgetPlan, dtypes: Sequence[str]) -> BudgetPlan:
    """The plan without estimated seconds, for want of the rates of products of these dtypes."""

    def told(ones: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple({**one, "extra_seconds": None} for one in ones)

    return replace(
        plan, extra_seconds=None, no_rate=tuple(dtypes), compiled=told(plan.compiled), by_hand=told(plan.by_hand)
    )


def estimates(one: Candidate) -> dict[str, Any]:
    """What a candidate adds to a step, as plain JSON values."""
    return {"plan": one.label, "extra_flops": one.flops, "extra_seconds": one.seconds}


def _alike(part: Part) -> Iterator[Part]:
    """Layers that are treated alike: of blocks whose layers take turns, those computed again and the others apart."""
    if not isinstance(part.choice, Plan) or part.choice.group:
        yield part
        return
    each = apart(part.choice, part.places)
    for choice in dict.fromkeys(each):
        places = (place for place, one in zip(part.places, each, strict=True) if one == choice)
        yield replace(part, places=tuple(places), choice=choice)


def _group(kind: Kind, part: Part) -> Group:
    graph, choice, count = kind.graph, part.choice, len(part.places)
    saved = kind.saved(choice)
    again = set() if isinstance(choice, Plain) else graph.again(saved)

    def kept(values: Sequence[int]) -> tuple[Kept, ...]:
        chosen = (graph.values[v] for v in values)
        return tuple(Kept(v.label, v.shape, v.line, int(v.bytes + v.on_host)) for v in chosen)

    copies = {v for v, value in enumerate(graph.values) if value.of is not None}

    return Group(
        kind.stack.name,
        count,
        _words(choice),
        kept(sorted(saved - copies)),
        kept(sorted(saved & copies)),
        kept([v for v, value in enumerate(graph.values) if value.op in again and v not in copies]),
        estimated(kind, part)[2] / count,
    )


def _words(choice: Choice) -> str:
    if isinstance(choice, Plan):
        each = "each of them too" if choice.layers[0] else "as one"
        return f"blocks of {choice.period} layers, {each if choice.group else 'the first of each computed again'}"
    if isinstance(choice, Policy):
        return choice.name
    return "no rematerialization" if isinstance(choice, Plain) else "chosen values saved"
