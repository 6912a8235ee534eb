"""The plot of a profile: bytes alive over the program, coloured by the pass that runs, with the peak marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import Record
from artifex_bench.memory_profile import LIVE
from artifex_bench.report.plots.style import FILLS, MIB, plot_style, save_figure
from artifex_bench.report.text import shorten_label

# colours of Okabe and Ito; hatches distinguish the passes in black and white
PASSES = {
    "forward": (FILLS[1], ""),
    "recomputed": (FILLS[5], "xxx"),
    "backward": (FILLS[3], "///"),
    "step": (FILLS[4], "..."),
    "not attributed": ("#E6E6E6", ""),  # copies and bookkeeping, which carry no metadata
}


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
    """Return the figure: live bytes in MiB over the instructions in the order in which they run."""
    figure, panels = plt.subplots(
        1, len(records), figsize=(6.4 if len(records) == 1 else 5 * len(records), 4), sharey=True, squeeze=False
    )
    for panel, record in zip(panels.flat, records, strict=True):
        _plot_panel(panel, record)
    panels.flat[0].set_ylabel("alive, MiB")
    panels.flat[0].set_ylim(0, 1.15 * max(record.value("compiled_peak_bytes") or 0 for record in records) / MIB)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, fontsize=8)
    return figure


def _plot_panel(panel: Any, record: Record) -> None:
    live = record.get(LIVE)
    assert live is not None and isinstance(record.case, RematCase)
    alive = np.append(live.values, live.values[-1]) / MIB
    moments = np.arange(len(alive))
    throughout, peak = live.detail["throughout_bytes"] / MIB, live.detail["peak_bytes"] / MIB
    panel.fill_between(moments, 0, throughout, color="#BBBBBB", linewidth=0, label="arguments and outputs")
    phases = np.array([*live.detail["phases"], ""])
    for name, (colour, hatch) in PASSES.items():
        here = phases == name
        here[1:] |= here[:-1]  # a moment lasts until the next
        panel.fill_between(
            moments, throughout, alive, where=here, step="post", facecolor=colour, edgecolor="white", hatch=hatch,
            linewidth=0, label=name,
        )  # fmt: skip
    panel.step(moments, alive, where="post", color="black", linewidth=0.8)
    panel.axhline(peak, color="black", linestyle="--", linewidth=1, label="compiled peak")
    moment = live.detail["moment"]
    panel.plot([moment], [alive[moment]], marker="v", color=FILLS[2], markersize=8, linestyle="none", label="the peak")
    at = live.detail["at"]
    panel.annotate(
        shorten_label(f"{at['phase']} {at['scope']} {at['operation']}".replace("  ", " ")),
        (moment, alive[moment]),
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=8,
        ha="right" if moment > len(alive) / 2 else "left",
    )
    name = shorten_label(f"{record.case.model}, {record.case.strategy}")
    panel.set_title(f"{name}\ncompiled peak {units.format_bytes(peak * MIB)}", fontsize=9)
    panel.set_xlabel("instructions in the order they run (a loop's body once)")
    panel.set_xlim(0, len(alive) - 1)
