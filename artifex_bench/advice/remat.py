"""Advice: from a run's table to a decision, what else was possible, why it fell, and how sure that is. No JAX.

Figures of a run hold for the device that it was made on: nothing is carried over to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from artifex_bench.advice.aot import NO_TIMES, fitting, of_target
from artifex_bench.advice.choice import PEAK, Advice, choose, nothing
from artifex_bench.checkpoint_io.formats import FORMATS
from artifex_bench.checkpointing.frequency import lost_share, young_daly_interval
from artifex_bench.core import units
from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.core.units import there
from artifex_bench.kinds.checkpoint import group_by_state
from artifex_bench.kinds.remat_groups import group_by_shape, is_plan_of_strategy
from artifex_bench.report.text import plain

QUESTIONS = {"remat": ("memory-budget", "time-budget", "target"), "checkpoint": ("mtbf",)}  # by kind of run
CERTAIN = "certain on these figures: the intervals do not overlap"
ALONE = "nothing else meets it"


def advise(
    table: pd.DataFrame,
    memory_budget: int | None = None,
    time_budget: float | None = None,
    mtbf_seconds: float | None = None,
    target: str | None = None,
) -> list[Advice]:
    """Advice for each group of cases in a run's table (`load_run`).

    remat runs: with `memory_budget` (bytes) the fastest strategy whose compiled and measured peaks fit; with
    `time_budget` (a multiple of the step without rematerialization) the one that needs the least memory; with both, the
    fastest that meets both. Where no step of a shape was timed, the one with the least peak stands for the fastest; a
    run in which none was needs no budget. Cases compiled for a device that is not attached have its capacity as their
    budget, and an estimate in the place of a time, which no `time_budget` is held against; `target` leaves out all but
    those of that name.

    checkpoint runs: with `mtbf_seconds` (mean time between failures) the way to save that loses the least time, and
    its interval (Daly 2006).

    Raises CaseError where the budget for that kind of run is missing, is for another kind, or cannot be held against
    anything that was measured, or the run is of a kind that no advice is given for.
    """
    kind = table.kind.iloc[0] if len(table) else "empty"
    given = {"memory-budget": memory_budget, "time-budget": time_budget, "mtbf": mtbf_seconds, "target": target}
    for name, value in given.items():
        if kind in QUESTIONS and value is not None and name not in QUESTIONS[kind]:
            valid = ", ".join(f"--{one}" for one in QUESTIONS[kind])
            raise CaseError(f"--{name}: means nothing to a {kind} run: valid are {valid}")
    if kind == "remat":
        table = table if target is None else of_target(table, target)
        ran = (table.target == LOCAL).any()
        timed = table.step_seconds.notna().any()
        if memory_budget is None and time_budget is None and ran and timed:
            others = " or --target" if (table.target != LOCAL).any() else ""
            raise CaseError(f"a remat run needs a budget: give --memory-budget (8GiB), --time-budget (1.1x){others}")
        if time_budget is not None and ran and not timed:
            raise CaseError(
                f"time budget {units.ratio(time_budget)}: no step of this run was timed: try --memory-budget"
            )
        if time_budget is not None and not ran:
            raise CaseError(f"target {table.target.iloc[0]!r}: {NO_TIMES}")
        return [
            _strategy(title, rows, memory_budget, time_budget)
            if rows.target.iloc[0] == LOCAL
            else fitting(title, rows, memory_budget, time_budget)
            for title, rows in group_by_shape(table)
        ]
    if kind == "checkpoint":
        if mtbf_seconds is None:
            raise CaseError("a checkpoint run needs the mean time between failures: give --mtbf (4h, 30min, 900s)")
        return [_saving(title, rows, mtbf_seconds) for title, rows in group_by_state(table)]
    raise CaseError(f"no advice from a run of kind {kind!r}: valid are remat, checkpoint")


def words(advice: Advice) -> str:
    """The advice to be read."""
    lines = [advice.cases, f"  {advice.question}:"]
    lines.append(f"  take {advice.choice}: {advice.cost}" if advice.choice else f"  nothing meets it: {advice.cost}")
    if advice.next_best:
        lines.append(f"  next best {advice.next_best}: {advice.next_cost}")
    if advice.choice:
        lines.append(f"  how sure: {advice.how_sure}")
    lines += [f"  not {name}: {why}" for name, why in advice.fell.items()]
    return "\n".join(map(plain, lines))


def _strategy(title: str, rows: pd.DataFrame, memory: int | None, time: float | None) -> Advice:
    timed = time is not None or bool(rows.step_seconds.notna().any())
    fastest_first = timed and memory is not None
    wanted = " ".join(_wanted(memory, time, fastest_first))
    unusable = dict(_unusable(rows, timed))
    usable = rows[~rows.strategy.isin(unusable)]
    over = {row.strategy: why for row in usable.itertuples() if (why := _over(row, memory, time))}
    meets = usable[~usable.strategy.isin(over)]
    fell = {**unusable, **over}
    if meets.empty:
        known = _fastest(usable) if memory is None else ""
        return nothing(title, wanted, usable, fell, known)
    order = ["step_seconds", PEAK] if fastest_first else [PEAK, "step_seconds"]
    ranked = list(meets.sort_values(order).itertuples())
    best, others = ranked[0], ranked[1:]
    for row in others[1:]:
        fell[row.strategy] = _behind(row, ranked, fastest_first)
    costs = [(row.strategy, _cost(row, memory)) for row in ranked[:2]]
    how_sure = _exact(best, time, timed)
    if fastest_first:
        lows = {row.strategy: row.step_seconds_low for row in others}
        how_sure = _how_sure(best.step_seconds_high, best.contended, lows) + _late(best, time, "; not of its step")
    return choose(title, wanted, costs, how_sure, fell)


def _fastest(rows: pd.DataFrame) -> str:
    """In words, of those that were timed."""
    ratios = rows.set_index("strategy").time_ratio.dropna()
    return f"the fastest is {ratios.idxmin()} with {units.ratio(ratios.min())} that of none" if len(ratios) else ""


def _wanted(memory: int | None, time: float | None, fastest: bool) -> Iterator[str]:
    yield "the fastest" if fastest else "the least memory"
    if memory is not None:
        yield f"with a peak of {units.size(memory)} at most, compiled and measured"
    if time is not None:
        yield f"with a step of {units.ratio(time)} that of none at most"


def _unusable(rows: pd.DataFrame, timed: bool) -> Iterator[tuple[str, str]]:
    """The cases that no budget can make worth taking, with the reason: where steps were `timed`, all that were not."""
    for row in rows.itertuples():
        if row.status != "ok":
            yield row.strategy, f"{row.status}: {row.reason}"
        elif not ((there(row.step_seconds) or not timed) and there(getattr(row, PEAK))):
            yield row.strategy, "its step was not timed on this device, or its peak is not known"
        elif there(row.verdict) and row.verdict != "effective":
            yield row.strategy, f"{row.verdict}: {row.verdict_reason}"


def _over(row: Any, memory: int | None, time: float | None) -> str | None:
    peak, measured = getattr(row, PEAK), row.measured_peak_bytes
    if memory is not None and peak > memory:
        return f"does not fit: {units.size(peak)}, {units.size(peak - memory)} over"
    if memory is not None and there(measured) and measured > memory:
        return f"does not fit as measured: {units.size(measured)}, {units.size(measured - memory)} over"
    ratio = 1.0 if row.strategy == "none" else row.time_ratio
    if time is not None and not there(ratio):
        return "its time without rematerialization was not measured"
    if time is not None and ratio > time:
        low = row.time_ratio_low
        perhaps = f", though the 95 % interval begins at {units.ratio(low)}" if there(low) and low <= time else ""
        return f"too slow: {units.ratio(ratio)}{perhaps}"
    return None


def _behind(row: Any, ranked: list[Any], fastest_first: bool) -> str:
    """Why a case that meets the budget is neither the choice nor the next best."""
    for other in ranked:
        faster, smaller = other.step_seconds <= row.step_seconds, getattr(other, PEAK) <= getattr(row, PEAK)
        if other.strategy != row.strategy and faster and smaller:
            return f"dominated: {other.strategy} is no slower and needs no more memory"
    took, peak = units.seconds(row.step_seconds), units.size(getattr(row, PEAK))
    return f"meets it and is slower: {took}" if fastest_first else f"meets it and needs more: {peak}"


def _cost(row: Any, memory: int | None) -> str:
    told = f"{units.seconds(row.step_seconds)} a step" if there(row.step_seconds) else "not timed"
    if there(row.time_ratio) and row.strategy != "none":
        told += (
            f" ({units.ratio(row.time_ratio)} none; 95 %: {units.interval(row.time_ratio_low, row.time_ratio_high)})"
        )
    peak = getattr(row, PEAK)
    told += f", compiled peak {units.size(peak)}"
    told += f", the program of {row.plan}" if is_plan_of_strategy(row) else ""
    return told if memory is None else f"{told}, {units.size(memory - peak)} to spare"


def _exact(row: Any, time: float | None, timed: bool) -> str:
    if not timed:
        return "of its peak certain; no step was timed in this run, so that what it costs in time is not known"
    if row.contended:
        return "of its peak certain; of its time little: others used the processors while it was timed"
    late = _late(row, time, "of its peak certain; not of its time")
    return late or "certain: compiled peaks do not vary"


def _late(row: Any, time: float | None, words: str) -> str:
    """That the step may take longer than the time budget has it, or nothing."""
    if time is None or not there(row.time_ratio_high) or row.time_ratio_high <= time:
        return ""
    return f"{words}: the 95 % interval reaches {units.ratio(row.time_ratio_high)}"


def _how_sure(top: float | None, contended: bool, lows: dict[str, float | None], alone: str = ALONE) -> str:
    """In words, from the end of the choice's 95 % interval and the beginnings of the others', of what decides."""
    if contended:
        return "little: others used the processors while it was timed"
    if top is None or not there(top):
        return "unknown: a single sample has no interval"
    close = [name for name, low in lows.items() if low is None or not there(low) or low <= top]
    if close:
        return f"not sure: its 95 % interval overlaps that of {'; '.join(close)}"
    return CERTAIN if lows else alone


def name_of(row: Any) -> str:
    return str(row.strategy) if row.kind == "remat" else f"{row.format}, {row.mode}"


def _saving(title: str, rows: pd.DataFrame, mtbf: float) -> Advice:
    wanted = f"the least time lost with a failure every {units.seconds(mtbf)}"
    fell = {name_of(row): f"{row.status}: {row.reason}" for row in rows.itertuples() if row.status != "ok"}
    usable = timed(rows)
    left_out = rows[(rows.status == "ok") & ~rows.index.isin(usable.index)]
    fell |= {name_of(row): "its save or restore was not timed" for row in left_out.itertuples()}
    plans = [Plan.of(row, mtbf) for row in usable.itertuples()]
    if not plans:
        return Advice(title, wanted, None, "all fell", None, "", "", fell)
    best, *others = sorted(plans, key=lambda plan: plan.lost)
    fell |= {name_of(plan.row): f"loses {plan.lost:.2%} of the time" for plan in others[1:]}
    costs = [(name_of(plan.row), plan.words()) for plan in (best, *others[:1])]
    lows = {name_of(plan.row): plan.lost_low for plan in others}
    how_sure = _how_sure(best.lost_high, best.row.contended, lows, "no other was run")
    return choose(title, wanted, costs, how_sure, fell)


def timed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of checkpoint cases whose save and restore were timed."""
    return rows[(rows.status == "ok") & (rows.blocking_seconds > 0) & rows.restore_seconds.notna()]


@dataclass(frozen=True)
class Plan:
    """A way to save with its best interval, and the share of the time that is lost with it, were a save to cost what
    was measured or an end of its 95 % interval (None: a single sample has none).
    """

    row: Any
    save_seconds: float  # what one save takes from training: seen in a loop, and no less than the call blocked
    interval_seconds: float
    lost: float
    lost_low: float | None
    lost_high: float | None

    @classmethod
    def of(cls, row: Any, mtbf: float) -> Plan:
        in_loop = there(row.lost_seconds) and row.lost_seconds > row.blocking_seconds
        decides = "lost_seconds" if in_loop else "blocking_seconds"

        def lost(cost: float) -> tuple[float, float]:
            interval = young_daly_interval(cost, mtbf, row.restore_seconds)
            return interval, lost_share(interval, cost, mtbf, row.restore_seconds)

        cost = float(getattr(row, decides))
        ends = (getattr(row, f"{decides}_{end}") for end in ("low", "high"))
        low, high = (lost(max(end, row.blocking_seconds))[1] if there(end) else None for end in ends)
        return cls(row, cost, *lost(cost), low, high)

    def words(self) -> str:
        entry = FORMATS.get(self.row.format)  # None: the user's own, or one of another version
        unseen = "" if entry is None or entry.detects_damage else "; damage to its files goes unnoticed (suite fault)"
        return (
            f"save every {units.seconds(self.interval_seconds)}; {self.lost:.2%} of the time is lost (a save costs "
            f"{units.seconds(self.save_seconds)} of training, a restore {units.seconds(self.row.restore_seconds)})"
            f"{unseen}"
        )
