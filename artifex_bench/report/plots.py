"""Plots of a run, from its table alone. Okabe-Ito colours, a marker of its own for each strategy, black on white."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from artifex_bench.report.tables import SHAPE, front, shapes

# Okabe & Ito 2008: told apart with any colour vision; markers and line styles carry the same in black and white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
MARKERS = "oDs^vPX<>ph*dH8"
HATCHES = ("", "///", "...")
MIB = 2**20
_STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.color": "#DDDDDD", "axes.axisbelow": True, "figure.dpi": 130}
Styles = dict[str, dict[str, Any]]


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw every plot that the table has data for into `folder`; returns the paths."""
    folder.mkdir(exist_ok=True)
    usable = table[table.status == "ok"] if not table.empty else table
    if usable.empty:
        return []
    styles = _styles(table.strategy.unique())
    drawn = []
    with plt.rc_context(_STYLE):
        compared = usable[usable.time_ratio.notna() & usable.compiled_peak_ratio.notna()]
        if not compared.empty:
            drawn.append(_save(_tradeoff(compared, styles), folder / "tradeoff.png"))
        for axis in ("depth", "width", "batch", "sequence"):
            figure = _scaling(usable, axis, styles)
            if figure is not None:
                drawn.append(_save(figure, folder / f"scaling_{axis}.png"))
        if usable.forward_seconds.notna().any():
            drawn.append(_save(_time_split(usable), folder / "time_split.png"))
        curve = _segments(usable)
        if curve is not None:
            drawn.append(_save(curve, folder / "segments.png"))
    return drawn


def _styles(strategies: Iterable[str]) -> Styles:
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(strategies)
    }


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path


def _panels(titles: list[str], wide: float = 4.6, high: float = 3.6) -> tuple[Any, list[Any]]:
    columns = min(3, len(titles), max(1, math.ceil(math.sqrt(len(titles)))))
    lines = math.ceil(len(titles) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(wide * columns, high * lines), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    panels = list(axes.flat[: len(titles)])
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title.replace(": ", "\n", 1), fontsize=9)
    figure.subplots_adjust(hspace=0.55, wspace=0.32)
    return figure, panels


def _tradeoff(table: pd.DataFrame, styles: Styles) -> Any:
    """Step time against peak memory, both relative to none; the Pareto front joined by a line."""
    groups = list(shapes(table))
    figure, panels = _panels([title for title, _ in groups])
    for panel, (_, rows) in zip(panels, groups, strict=True):
        best = rows.loc[[i for i in rows.index if i in front(rows)]].sort_values("compiled_peak_ratio")
        panel.step(best.compiled_peak_ratio, best.time_ratio, where="post", color="#888888", linestyle="--", zorder=1)
        for row in rows.itertuples():
            error = None
            if row.time_ratio_low is not None and not math.isnan(row.time_ratio_low):
                error = [
                    [max(0, row.time_ratio - row.time_ratio_low)],
                    [max(0, row.time_ratio_high - row.time_ratio)],
                ]
            on_front = row.Index in best.index
            style = styles[row.strategy]
            panel.errorbar(
                row.compiled_peak_ratio,
                row.time_ratio,
                yerr=error,
                linestyle="none",
                markersize=8 if on_front else 6,
                markerfacecolor=style["color"] if on_front else "white",
                capsize=2,
                **style,
            )
        panel.set_xlabel("compiled peak memory, x none")
        panel.set_ylabel("step time, x none")
        panel.set_xlim(0, max(1.1, panel.get_xlim()[1]))
        panel.axhline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
        panel.axvline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
    _strategy_legend(figure, styles, "filled: on the Pareto front (dashed); bars: 95 % intervals")
    return figure


def _strategy_legend(figure: Any, styles: Styles, note: str, line: Any = "none") -> None:
    handles = [
        matplotlib.lines.Line2D([], [], linestyle=line, label=name, markersize=7, **style)
        for name, style in styles.items()
    ]
    columns = 2 if len(figure.axes) < 2 else 3
    height = figure.get_size_inches()[1]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12 / height), ncols=columns)
    rows = math.ceil(len(handles) / columns)
    figure.text(0.5, -(0.42 + 0.2 * rows) / height, note, ha="center", va="top", fontsize=8, color="#444444")


def _scaling(table: pd.DataFrame, axis: str, styles: Styles) -> Any | None:
    """Time and memory over one axis, a line a strategy, a row of panels for each setting of the other axes."""
    others = [column for column in SHAPE if column != axis]
    groups = [rows for _, rows in table.groupby(others, sort=False, dropna=False) if rows[axis].nunique() > 1]
    if not groups:
        return None
    figure, panels = plt.subplots(
        len(groups), 2, figsize=(9.2, 3.3 * len(groups)), squeeze=False, gridspec_kw={"hspace": 0.5, "wspace": 0.3}
    )
    for (left, right), rows in zip(panels, groups, strict=True):
        first = rows.iloc[0]
        fixed = [f"{o} {first[o]:g}" for o in ("depth", "width", "batch", "sequence") if o != axis and first[o] > 0]
        title = f"{first.model}, {', '.join(fixed)}, {first['dtype']}, {first['layers']}"
        for strategy, line in rows.groupby("strategy", sort=False):
            line = line.sort_values(axis)
            left.plot(line[axis], line.step_seconds * 1e3, **styles[str(strategy)])
            right.plot(line[axis], line.compiled_peak_bytes / MIB, **styles[str(strategy)])
        for panel, label in ((left, "step time (ms)"), (right, "compiled peak (MiB)")):
            panel.set_title(title, fontsize=9)
            panel.set_xlabel(axis)
            panel.set_ylabel(label)
            panel.set_xticks(sorted(rows[axis].unique()))
            panel.set_ylim(bottom=0)
    _strategy_legend(figure, {s: styles[s] for s in pd.concat(groups).strategy.unique()}, "", line="-")
    return figure


def _time_split(table: pd.DataFrame) -> Any:
    """A training step as forward pass, backward pass with update, and what the strategy adds to them.

    The forward pass is timed by itself for strategy none; the rest is the difference of whole steps.
    """
    groups = [(title, rows) for title, rows in shapes(table) if rows.forward_seconds.notna().any()]
    figure, panels = _panels([title for title, _ in groups], wide=5.2)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plain = rows[rows.forward_seconds.notna()].iloc[0]
        forward = min(plain.forward_seconds, plain.step_seconds)
        steps = rows.step_seconds
        shares: tuple[Any, ...] = (
            steps.clip(upper=forward),
            (steps.clip(upper=plain.step_seconds) - forward).clip(lower=0),
        )
        shares = (*shares, (steps - plain.step_seconds).clip(lower=0))
        labels = ("forward", "backward and update", "added by the strategy")
        start = np.zeros(len(rows))
        for share, label, colour, hatch in zip(shares, labels, COLOURS[6:3:-1], HATCHES, strict=True):
            panel.barh(rows.strategy, share * 1e3, left=start, label=label, color=colour, hatch=hatch, edgecolor="k")
            start = start + share.to_numpy() * 1e3
        panel.set_xlabel("ms a step")
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
    figure.subplots_adjust(wspace=0.75)
    height = figure.get_size_inches()[1]
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1 / height)
    )
    return figure


def _segments(table: pd.DataFrame) -> Any | None:
    """Compiled peak over the length of segments, with sqrt(depth) marked (Chen et al. 2016)."""
    kinds: dict[str, Callable[[str], bool]] = {
        "segments": lambda s: s.startswith("segments-"),
        "nested": lambda s: s.startswith("nested-"),
    }
    rows = table[table.strategy.str.fullmatch(r"(segments|nested)-\d+")]
    if rows.strategy.nunique() < 4 or len(list(shapes(rows))) != 1:
        return None
    figure, panels = _panels([next(shapes(rows))[0]], wide=5.6)
    for i, (kind, chosen) in enumerate(kinds.items()):
        line = rows[rows.strategy.map(chosen)].copy()
        line["length"] = line.strategy.str.rpartition("-")[2].astype(int)
        line = line.sort_values("length")
        panels[0].plot(line.length, line.compiled_peak_bytes / MIB, marker=MARKERS[i], color=COLOURS[i + 1], label=kind)
    depth = int(rows.depth.iloc[0])
    panels[0].axvline(math.sqrt(depth), color="#888888", linestyle="--", label=f"sqrt({depth})")
    every = table[table.strategy == "all"]
    if not every.empty:
        panels[0].axhline(every.compiled_peak_bytes.iloc[0] / MIB, color="#888888", linestyle=":", label="all")
    panels[0].set_xscale("log", base=2)
    panels[0].set_yscale("log", base=2)
    panels[0].xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    panels[0].yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    panels[0].set_xlabel("layers a segment")
    panels[0].set_ylabel("compiled peak (MiB)")
    panels[0].legend()
    return figure
