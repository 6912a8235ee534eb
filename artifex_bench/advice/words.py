"""Advice as text: the only place where its data become words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from artifex_bench.advice.by_budget import Ranking
from artifex_bench.advice.data import Advice, Candidate, Confidence, Doubt, Level, Limits, Question, Reason, Rejection
from artifex_bench.core import units
from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.report.text import make_printable
from artifex_bench.targets import LARGEST_POOL_SHARE, POOL_VARIABLE

QUESTIONS = {
    Question.FASTEST: "fastest step",
    Question.LEAST_MEMORY: "least peak memory",
    Question.SHORTEST_ESTIMATE: "shortest estimated step",
    Question.LEAST_RECOMPUTATION: "least recomputation",
    Question.LEAST_TIME_LOST: "least training time lost",
}
COMPILED_ONLY = (Question.SHORTEST_ESTIMATE, Question.LEAST_RECOMPUTATION)
STATUSES = {
    Reason.OOM: "out of memory",
    Reason.TIMEOUT: "timed out",
    Reason.FAILED: "failed",
    Reason.SKIPPED: "skipped",
}
REASONS = STATUSES | {
    Reason.NO_OP: "no-op",
    Reason.ELIMINATED: "eliminated by the compiler",
    Reason.NO_SAVING: "recomputes without saving memory",
    Reason.NOT_TIMED: "not timed",
    Reason.NO_PEAK: "its peak is not known",
    Reason.NO_BASELINE: "cannot be compared with `none`, which has no result",
    Reason.NO_ESTIMATE: "fits with {compiled_peak_bytes}, but its step time cannot be estimated",
    Reason.HOST_TRANSFERS: "fits with {compiled_peak_bytes}, but the time of its transfers to the host is not known",
    Reason.OVER_MEMORY_BUDGET: "needs {needed_bytes}, {over_bytes} over budget",
    Reason.OVER_MEMORY_BUDGET_MEASURED: "needs {needed_bytes} as measured, {over_bytes} over budget",
    Reason.NEEDS_LARGER_POOL: f"needs {{needed_bytes}}: fits only with {POOL_VARIABLE}={LARGEST_POOL_SHARE}",
    Reason.OVER_TIME_BUDGET: "takes {time_ratio} `none`, over the time budget",
    Reason.PERHAPS_OVER_TIME_BUDGET: "takes {time_ratio} `none`, but its 95 % interval begins at {time_ratio_low}",
    Reason.DOMINATED: "dominated by `{dominated_by}`: at least as fast, at most as much memory",
    Reason.SLOWER: "slower: {step_seconds}",
    Reason.SLOWER_ESTIMATE: "slower: an estimated {estimated_step_seconds}",
    Reason.LARGER: "needs more memory: {compiled_peak_bytes}",
    Reason.RECOMPUTES_MORE: "recomputes more: {recomputed_flops} FLOPs",
    Reason.LOSES_MORE: "loses {lost_share} of the time",
    Reason.SILENT_LOSS: "a restore from damaged files may return wrong data without an error (suite fault)",
    Reason.ONLY_CASE: "the only case: there is nothing to compare it with",
}
DOUBTS = {
    Doubt.OVERLAP: "95 % interval overlaps {overlaps}",
    Doubt.CONTENDED: "other processes used the CPU",
    Doubt.SINGLE_SAMPLE: "a single sample has no interval",
    Doubt.TIME_BUDGET: "95 % interval of the step reaches {time_ratio_high} `none`",
    Doubt.ESTIMATED_TIME: "its step time is an estimate",
    Doubt.UNKNOWN_TIME: "its step time is not known",
}
ADVICE_ON_DOUBTS = {
    Doubt.NOT_TIMED: "No step was timed, so its cost in time is not known",
    Doubt.ESTIMATED_TIME: f"Measure it on the device: {PUBLISHED_STEPS}",
    Doubt.UNKNOWN_TIME: "Measure it on the device: steps over a mesh are not estimated",
}
_RANKING_DOUBTS = {
    Question.LEAST_MEMORY: Doubt.NOT_TIMED,
    Question.SHORTEST_ESTIMATE: Doubt.ESTIMATED_TIME,
    Question.LEAST_RECOMPUTATION: Doubt.UNKNOWN_TIME,
}
FORMATS: dict[str, Callable[[float], str]] = {  # by the unit that a figure's name ends in
    "bytes": units.format_bytes,
    "seconds": units.format_seconds,
    "flops": units.format_count,
    "ratio": units.format_ratio,
    "share": lambda share: f"{share:.2%}",
}


@dataclass(frozen=True)
class AdviceText:
    """The parts of an advice as text.

    Attributes:
        group: Title of the group of cases.
        question: What the choice is best at, and what it must meet.
        choice: Name of the choice; None if no case meets the limits.
        figures: Figures of the choice; without one, why there is none.
        runner_up: Name of the runner-up, or None.
        runner_up_figures: Its figures.
        confidence: How certain the choice is; empty without a choice.
        rejected: Name -> why.
    """

    group: str
    question: str
    choice: str | None
    figures: str
    runner_up: str | None
    runner_up_figures: str
    confidence: str
    rejected: dict[str, str]


def format_advice(advice: Advice) -> str:
    """Return an advice as text of several lines."""
    text = describe_advice(advice)
    lines = [text.group, f"  question: {text.question}"]
    lines.append(f"  choice `{text.choice}`: {text.figures}" if text.choice else f"  {text.figures}")
    if text.runner_up:
        lines.append(f"  runner-up `{text.runner_up}`: {text.runner_up_figures}")
    if text.choice:
        lines.append(f"  confidence: {text.confidence}")
    lines += [f"  rejected `{name}`: {why}" for name, why in text.rejected.items()]
    return "\n".join(map(make_printable, lines))


def describe_advice(advice: Advice) -> AdviceText:
    """Return the parts of an advice as text."""
    choice, runner_up = advice.choice, advice.runner_up
    return AdviceText(
        advice.group,
        _describe_question(advice.question, advice.limits),
        choice.name if choice else None,
        _describe_candidate(choice) if choice else _describe_no_choice(advice),
        runner_up.name if runner_up else None,
        _describe_candidate(runner_up) if runner_up else "",
        _describe_confidence(advice, advice.confidence) if advice.confidence else "",
        {
            name: _describe_rejection(rejection)
            for name, rejection in advice.rejected.items()
            if rejection.reason is not Reason.ONLY_CASE  # which the figures say
        },
    )


def _describe_question(question: Question, limits: Limits) -> str:
    """Return what a choice is best at, and what it must meet."""
    memory, device = limits.memory_bytes, limits.device_memory_bytes
    words = []
    if memory is not None:
        peak = "compiled peak" if question in COMPILED_ONLY else "compiled and measured peak"
        pool = (
            f", JAX's pool of {units.format_share(memory / device)} of {units.format_bytes(device)}" if device else ""
        )
        words.append(f"a {peak} of at most {units.format_bytes(memory)}{pool}")
    if limits.time_ratio is not None:
        words.append(f"a step of at most {units.format_ratio(limits.time_ratio)} `none`")
    if limits.mtbf_seconds is not None:
        words.append(f"a failure every {units.format_seconds(limits.mtbf_seconds)}")
    return " with ".join(filter(None, (QUESTIONS[question], " and ".join(words))))


def _describe_candidate(candidate: Candidate) -> str:
    """Return the figures of a choice or a runner-up."""
    if "interval_seconds" in candidate.figures:
        text = (
            "save every {interval_seconds}, which loses {lost_share} of the time. A save costs {save_seconds} of "
            "training, a restore {restore_seconds}"
        ).format_map(_format_figures(candidate.figures))
        return text + (". It is not known whether it detects damaged files" if candidate.detects_damage is None else "")
    return ", ".join(_list_strategy_figures(candidate))


def _list_strategy_figures(candidate: Candidate) -> Iterator[str]:
    figures, text = candidate.figures, _format_figures(candidate.figures)
    if "step_seconds" in figures:
        ends = [figures[name] for name in ("time_ratio_low", "time_ratio_high") if name in figures]
        interval = f", 95 % interval {units.format_interval(*ends)}" if len(ends) == 2 else ""
        ratio = f" ({text['time_ratio']} `none`{interval})" if "time_ratio" in figures else ""
        yield f"{text['step_seconds']} per step{ratio}"
    elif "estimated_step_seconds" in figures:
        yield f"an estimated {text['estimated_step_seconds']} per step"
    elif "recomputed_share" in figures:
        yield f"recomputes {units.format_share(figures['recomputed_share'])} of the model's FLOPs"
    else:
        yield "not timed"
    peak = f"compiled peak {text['compiled_peak_bytes']}"
    if figures.get("needed_peak_bytes", 0) > figures["compiled_peak_bytes"]:
        peak += f" ({text['needed_peak_bytes']} with cuBLAS)"
    yield peak
    if "measured_peak_bytes" in figures:
        yield f"measured peak {text['measured_peak_bytes']}"
    if candidate.program_of:
        yield f"the program of `{candidate.program_of}`"
    if "spare_bytes" in figures:
        yield f"{text['spare_bytes']} to spare"


def _describe_confidence(advice: Advice, confidence: Confidence) -> str:
    """Return how certain a choice is, and why."""
    if confidence.level is not Level.HIGH:
        names = ", ".join(f"`{name}`" for name in confidence.overlaps)
        figures = _format_figures(advice.choice.figures if advice.choice else {})
        reasons = [DOUBTS[doubt].format(overlaps=names, **figures) for doubt in confidence.doubts]
    elif advice.question is Question.LEAST_MEMORY:
        reasons = ["compiled peaks do not vary"]
    else:
        reasons = ["95 % intervals do not overlap" if advice.runner_up else "no other case qualifies"]
    more = [ADVICE_ON_DOUBTS[doubt] for doubt in confidence.doubts if doubt in ADVICE_ON_DOUBTS]
    return ". ".join([f"{confidence.level} ({', '.join(reasons)})", *more])


def _describe_rejection(rejection: Rejection) -> str:
    """Return why a case was rejected."""
    figures = _format_figures(rejection.figures)
    text = REASONS[rejection.reason].format(dominated_by=rejection.dominated_by, **figures)
    return f"{text}: {rejection.message}" if rejection.message else text


def _describe_no_choice(advice: Advice) -> str:
    """Return why there is no choice: all cases failed, or which case is nearest to the limits."""
    reasons = [rejection.reason for rejection in advice.rejected.values()]
    if reasons and all(reason in STATUSES for reason in reasons):
        return f"Every case failed: {', '.join(dict.fromkeys(STATUSES[reason] for reason in reasons))}"
    if advice.nearest is None:
        return "No case qualifies"
    if reasons == [Reason.ONLY_CASE]:
        figures = _describe_candidate(advice.nearest)
        return f"`{advice.nearest.name}` is the only case, so there is nothing to compare it with: {figures}"
    best = "is the fastest: {time_ratio} `none`"
    if "needed_bytes" in advice.nearest.figures:
        best = "needs the least memory: {needed_bytes}"
    return f"No case qualifies. `{advice.nearest.name}` {best.format_map(_format_figures(advice.nearest.figures))}"


def _format_figures(figures: dict[str, float]) -> dict[str, str]:
    units_of = {name: name.removesuffix("_low").removesuffix("_high").rpartition("_")[2] for name in figures}
    return {name: FORMATS[units_of[name]](value) for name, value in figures.items()}


def describe_ranking(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking as JSON values with its texts, for the page, which shows the choice at any memory budget."""
    peak = "compiled peak" if ranking.question in COMPILED_ONLY else "compiled and measured peak"
    return {
        "group": ranking.group,
        "question": f"{QUESTIONS[ranking.question]} with a {peak} of at most",
        "level": ranking.level,
        "doubt": ADVICE_ON_DOUBTS.get(_RANKING_DOUBTS.get(ranking.question, Doubt.OVERLAP), ""),
        "cases": ranking.cases,
        "candidates": [
            {
                "case": one.case,
                "name": one.candidate.name,
                "figures": _describe_candidate(one.candidate),
                "needed": one.needed_bytes,
                "low": one.low,
                "high": one.high,
                "contended": one.contended,
            }
            for one in ranking.candidates
        ],
        "rejected": {name: _describe_rejection(rejection) for name, rejection in ranking.rejected.items()},
    }
