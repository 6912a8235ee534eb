"""The parts of a training step: forward pass, backward pass with update, and what the strategy adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.plots.panels import add_panel_legend, row_panels, share_limits, write_below
from artifex_bench.report.plots.style import FILLS, MUTED, interval_lengths
from artifex_bench.report.text import shorten_labels

FORWARD, REST, WHOLE = "forward pass", "backward pass and update", "whole step, parts not measured"
LOOKS = {FORWARD: (FILLS[6], ""), REST: (FILLS[5], "///"), WHOLE: ("#D5DAE1", "")}  # colour and hatch
FLAG = "#A4133C"


def split_step(row: Any) -> dict[str, float]:
    """Return the parts of a case's step in seconds.

    A step is split only where the forward pass of that case was timed. A forward pass longer than the step is a
    contradiction between two measurements, so that step is not split either.
    """
    if not is_present(row.forward_seconds) or contradicts(row):
        return {WHOLE: row.step_seconds}
    return {FORWARD: row.forward_seconds, REST: row.step_seconds - row.forward_seconds}


def contradicts(row: Any) -> bool:
    """Return whether the forward pass alone took longer than the whole step."""
    return bool(row.forward_seconds > row.step_seconds)


def plot_time_split(table: pd.DataFrame) -> Any:
    """Return a figure of each training step, with its forward pass where that was timed alone.

    Args:
        table: Remat cases that ran.
    """
    groups = [
        (title, rows[rows.step_seconds.notna()])
        for title, rows in group_by_shape(table)
        if (rows.forward_seconds.notna() & rows.step_seconds.notna()).any()
    ]
    figure, panels = row_panels(groups)
    label, size = units.choose_unit("seconds", max(rows.step_seconds.max() for _, rows in groups))
    for panel, (_, rows) in zip(panels, groups, strict=True):
        _plot_steps(panel, rows, size)
        panel.set_xlabel(f"step time ({label})")
    share_limits(panels, "x")
    add_panel_legend(figure, panels)
    write_below(
        figure,
        [
            "bars at the ends: 95 % intervals of the step; dotted line: step of strategy none. The forward pass is "
            "timed in a program of its own; the rest of the step is the difference.",
            *_describe_contradictions(groups),
        ],
    )
    return figure


def _plot_steps(panel: Any, rows: pd.DataFrame, size: float) -> None:
    parts = [split_step(row) for row in rows.itertuples()]
    for name, (colour, hatch) in LOOKS.items():
        places = [i for i, part in enumerate(parts) if name in part]
        widths = [parts[i][name] / size for i in places]
        starts = [parts[i][FORWARD] / size if name == REST else 0.0 for i in places]
        if places:
            panel.barh(places, widths, left=starts, label=name, color=colour, hatch=hatch, edgecolor="k", linewidth=0.6)
    panel.errorbar(
        rows.step_seconds / size,
        range(len(rows)),
        xerr=interval_lengths(rows, "step_seconds", size),
        linestyle="none",
        color="k",
        capsize=2,
        linewidth=1,
    )
    for place, row in enumerate(rows.itertuples()):
        if contradicts(row):
            forward = row.forward_seconds / size
            panel.plot([forward], [place], marker="X", markersize=8, color=FLAG, linestyle="none", clip_on=False)
            words = f"forward alone: {units.format_seconds(row.forward_seconds)}"
            place_right = {"textcoords": "offset points", "xytext": (7, 0), "va": "center", "annotation_clip": False}
            panel.annotate(words, (forward, place), color=FLAG, fontsize=8, **place_right)
    panel.set_xlim(0, 1.05 * panel.dataLim.x1)
    plain = rows[rows.strategy == "none"]
    if len(plain):
        panel.axvline(plain.step_seconds.iloc[0] / size, color=MUTED, linestyle=":", linewidth=1.2)
    panel.set_yticks(range(len(rows)), shorten_labels(rows.strategy))


def _describe_contradictions(groups: list[tuple[str, pd.DataFrame]]) -> Iterator[str]:
    for title, rows in groups:
        for row in rows.itertuples():
            if contradicts(row):
                forward, step = units.format_seconds(row.forward_seconds), units.format_seconds(row.step_seconds)
                yield (
                    f"contradiction in {title}, {row.strategy}: the forward pass alone took {forward}, the whole step "
                    f"{step}. One of the two was disturbed, or they are different programs."
                )
