"""The picture of a profile: bytes alive over the program, stacked by kind of buffer, with the peak marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import Measurement, Record
from artifex_bench.memory_profile import LIVE
from artifex_bench.memory_profile.areas import (
    FIXED,
    OTHER,
    Area,
    describe_origin,
    find_tree,
    has_areas,
    list_areas,
    merge_kinds,
    merge_small,
)
from artifex_bench.report.plots.style import FILLS, INK, MUTED, RECOMMENDED, plot_style, save_figure
from artifex_bench.report.text import shorten_label

# pass -> hue (Okabe and Ito), and the hatch that tells passes apart in black and white where areas have no labels
PASSES = {
    "forward": (FILLS[1], ""),
    "recomputed": (FILLS[5], "xxx"),
    "backward": (FILLS[3], "///"),
    "step": (FILLS[4], "..."),
    "not attributed": ("#D5DAE1", ""),  # copies and bookkeeping, which carry no metadata
}
PEAK = RECOMMENDED
BAND, COPIES, SMALLER = "#AEB6C0", "#7B8794", "#E9ECF0"  # arguments and outputs, their copies, smaller buffers
LEGEND = ("arguments and outputs", "copies of arguments", "smaller buffers", *PASSES)
LABELS = 7  # of the largest areas at the peak: more would not fit beside a panel
GAP = 0.075  # between labels, of a panel's height
KINDS = 40  # that have an area of their own: more would be thinner than their edges


def write_timeline(records: Sequence[Record], path: Path) -> list[Path]:
    """Write the plot of the records that have live bytes, with one panel per record on a common scale.

    Returns:
        The path of the file; empty if no record has live bytes.
    """
    plotted = [record for record in records if (live := record.get(LIVE)) is not None and live.values]
    if not plotted:
        return []
    with plot_style():
        return [save_figure(plot_timeline(plotted), path)]


def plot_timeline(records: Sequence[Record]) -> Any:
    """Return the figure: live bytes over the instructions in the order in which they run.

    Panels are above each other and share both axes. Records without the lives of their buffers are coloured by the pass
    that runs.
    """
    stacked = all(map(has_areas, records))
    figure, panels = plt.subplots(
        len(records), 1, figsize=(8, 3.4 * len(records)), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    largest = max(max(live.detail["peak_bytes"], *live.values) for record in records if (live := record.get(LIVE)))
    unit, size = units.choose_unit("bytes", largest)
    for panel, record in zip(panels.flat, records, strict=True):
        live = record.get(LIVE)
        assert live is not None and isinstance(record.case, RematCase)
        panel.set_ylim(0, 1.15 * largest / size)
        (_plot_areas if stacked else _plot_passes)(panel, record, live, size)
        name = shorten_label(f"{record.case.model}, {record.case.strategy}")
        peak = units.format_bytes(live.detail["peak_bytes"])
        panel.set_title(f"{name}: compiled peak {peak}", fontsize=9, loc="left")
        panel.set_ylabel(f"alive ({unit})")
    panels.flat[-1].set_xlabel("instructions in the order they run (a loop's body once)")
    footer = shorten_label(" · ".join(describe_origin(records)))
    panels.flat[-1].annotate(
        footer, (1, 0), (0, -37), "axes fraction", "offset points", fontsize=7.5, color=MUTED, ha="right", va="top"
    )
    panels.flat[-1].set_xlim(0, max(len(live.values) for record in records if (live := record.get(LIVE))))
    entries: dict[str, Any] = {}
    for panel in panels.flat:
        entries |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    names = sorted(entries, key=lambda name: LEGEND.index(name) if name in LEGEND else len(LEGEND))
    figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _plot_areas(panel: Any, record: Record, live: Measurement, unit: float) -> None:
    """Stack one area for each kind of buffer, in the hue of the pass that computes it."""
    count, moment = len(live.values), live.detail["moment"]
    kinds = merge_kinds(list_areas(record), lambda area: (area.phase, area.scope, find_tree(area.operation)))
    areas = merge_small(kinds, least=0, most=KINDS)
    base = np.zeros(count + 1)
    at_peak = []
    for name, colour in dict(map(_describe_pass, areas)).items():
        panel.fill_between([], [], facecolor=colour, label=name)
    for number, area in enumerate(areas):
        height = _heights(area, count, unit)
        panel.fill_between(
            np.arange(count + 1), base, base + height, step="post", linewidth=0.3, edgecolor="white",
            facecolor=_lighten(_describe_pass(area)[1], 0.25 * (number % 2)), where=_widen(height > 0),
        )  # fmt: skip
        if height[moment]:
            at_peak.append((height[moment] * unit, base[moment] + height[moment] / 2, area))
        base = base + height
    panel.step(np.arange(count + 1), base, where="post", color=INK, linewidth=0.8)
    panel.axhline(live.detail["peak_bytes"] / unit, color=INK, linestyle="--", linewidth=1, label="compiled peak")
    panel.axvline(moment + 0.5, color=PEAK, linewidth=1)
    panel.plot([moment + 0.5], [base[moment]], marker="v", color=PEAK, markersize=7, linestyle="none", label="the peak")
    largest = sorted(at_peak, key=lambda one: -one[0])[:LABELS]
    _label_areas(panel, moment + 0.5, sorted(largest, key=lambda one: one[1]))


def _describe_pass(area: Area) -> tuple[str, str]:
    """Return the entry of an area in the legend, and its hue."""
    if area.phase == FIXED:
        return ("copies of arguments", COPIES) if area.operation else ("arguments and outputs", BAND)
    if area.phase == OTHER:
        return "smaller buffers", SMALLER
    return area.phase, PASSES.get(area.phase, PASSES["not attributed"])[0]


def _heights(area: Area, count: int, unit: float) -> Any:
    """Return the bytes of an area in a unit at each moment, and at the end of the last one."""
    changes = np.zeros(count + 1)
    for first, last, size in area.lives:
        changes[int(first)] += size
        changes[int(last) + 1] -= size
    heights = np.cumsum(changes) / unit
    heights[count] = heights[count - 1]
    return heights


def _widen(shown: Any) -> Any:
    """Return moments with the one that follows each: a step lasts until the next moment."""
    return shown | np.append(False, shown[:-1])


def _lighten(colour: str, share: float) -> Any:
    return tuple(part + (1 - part) * share for part in to_rgb(colour))


def _label_areas(panel: Any, moment: float, areas: Sequence[tuple[float, float, Area]]) -> None:
    """Name areas right of the panel, from bottom to top, each with a line that leads to it at the peak."""
    places = _spread_labels([middle / panel.get_ylim()[1] for _, middle, _ in areas])
    for (size, middle, area), place in zip(areas, places, strict=True):
        words = " ".join(filter(None, (area.scope, area.operation))) or area.name
        panel.annotate(
            f"{shorten_label(words)}, {units.format_bytes(size)}",
            (moment, middle),
            xytext=(1.03, place),
            textcoords="axes fraction",
            fontsize=7.5,
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": INK, "shrinkA": 2, "relpos": (0, 0.5)},
        )


def _spread_labels(places: Sequence[float]) -> list[float]:
    """Move places, in rising order, as little up and then down as puts them `GAP` apart and below 1."""
    spread: list[float] = []
    for place in places:
        spread.append(max(place, spread[-1] + GAP) if spread else place)
    highest = 1.0
    for number in reversed(range(len(spread))):
        spread[number] = min(spread[number], highest)
        highest = spread[number] - GAP
    return spread


def _plot_passes(panel: Any, record: Record, live: Measurement, unit: float) -> None:
    """Plot the sum alone, in the hue of the pass that runs: all that older records have."""
    alive = np.append(live.values, live.values[-1]) / unit
    moments = np.arange(len(alive))
    throughout, peak = live.detail["throughout_bytes"] / unit, live.detail["peak_bytes"] / unit
    panel.fill_between(moments, 0, throughout, color=BAND, linewidth=0, label="arguments and outputs")
    phases = np.array([*live.detail["phases"], ""])
    for name, (colour, hatch) in PASSES.items():
        panel.fill_between(
            moments, throughout, alive, where=_widen(phases == name), step="post", facecolor=colour,
            edgecolor="white", hatch=hatch, linewidth=0, label=name,
        )  # fmt: skip
    panel.step(moments, alive, where="post", color="black", linewidth=0.8)
    panel.axhline(peak, color=INK, linestyle="--", linewidth=1, label="compiled peak")
    moment = live.detail["moment"]
    panel.plot([moment], [alive[moment]], marker="v", color=PEAK, markersize=7, linestyle="none", label="the peak")
    at = live.detail["at"]
    panel.annotate(
        shorten_label(f"{at['phase']} {at['scope']} {at['operation']}".replace("  ", " ")),
        (moment, alive[moment]),
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=8,
        ha="right" if moment > len(alive) / 2 else "left",
    )
