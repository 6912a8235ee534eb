"""Tables: `table.csv` with every column, `table.md` and the terminal with those that decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.report import units
from artifex_bench.stats import pareto_front

SHAPE = ("model", "depth", "width", "batch", "sequence", "heads", "dtype", "layers", "step", "optimizer", "compiler")
HEADINGS = ("strategy", "step time", "x none", "95 %", "compiled peak", "x none", "measured peak", "residuals")
HEADINGS_MORE = ("recomputed", "throughput", "verdict", "grads equal", "status")


def shapes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each shape (all axes but the strategy), with the shape in words."""
    columns = [*SHAPE, "seed"]
    for key, rows in table.groupby(columns, sort=False, dropna=False):
        yield shape_title(dict(zip(columns, key, strict=True))), rows


def shape_title(shape: dict[str, Any]) -> str:
    """``transformer: depth 4, width 128, batch 8, sequence 128, float32, scan``."""
    plain = {"step": "train", "optimizer": "adam", "compiler": "faithful", "seed": 0}
    words = [f"{axis} {int(shape[axis])}" for axis in ("depth", "width", "batch", "sequence") if _there(shape[axis])]
    words += [str(shape["dtype"]), str(shape["layers"])]
    words += [f"heads {int(shape['heads'])}"] if _there(shape["heads"]) and shape["heads"] != 4 else []
    words += [f"{axis} {shape[axis]}" for axis, value in plain.items() if shape[axis] != value]
    return f"{shape['model']}: {', '.join(words)}"


def _there(value: Any) -> bool:
    return value is not None and not pd.isna(value)


def cells(row: Any, on_front: bool) -> list[str]:
    """A case's row in words, in the order of the headings; a star marks the Pareto front."""
    interval = units.ABSENT
    if _there(row.time_ratio_low):
        interval = f"{row.time_ratio_low:.2f} … {row.time_ratio_high:.2f}"
    status = row.status if not row.contended else f"{row.status}, contended"
    agrees = {True: "yes", False: "NO"}.get(row.agrees, units.ABSENT)
    flops = row.recomputed_flops / row.model_flops if row.model_flops else None
    throughput = f"{units.count(row.throughput_per_second)} {row.throughput_unit}/s"
    return [
        row.strategy + (" *" if on_front else ""),
        units.seconds(row.step_seconds),
        units.ratio(row.time_ratio),
        interval,
        units.size(row.compiled_peak_bytes),
        units.ratio(row.compiled_peak_ratio),
        units.size(row.measured_peak_bytes),
        units.size(row.residual_bytes),
        f"{flops:+.0%}" if _there(flops) else units.ABSENT,
        throughput if _there(row.throughput_per_second) else units.ABSENT,
        row.verdict if _there(row.verdict) else units.ABSENT,
        agrees,
        status,
    ]


def front(rows: pd.DataFrame) -> set[int]:
    """Index labels of the rows on the Pareto front of step time and compiled peak."""
    usable = rows[(rows.status == "ok") & rows.step_seconds.notna() & rows.compiled_peak_bytes.notna()]
    points = list(zip(usable.step_seconds, usable.compiled_peak_bytes, strict=True))
    return {usable.index[i] for i in pareto_front(points)}


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each shape; columns that are empty throughout stay in, notes name faults."""
    for title, rows in shapes(table):
        best = front(rows)
        lines = [cells(row, row.Index in best) for row in rows.itertuples()]
        notes = [f"{row.strategy}: {row.status}: {row.reason}" for row in rows.itertuples() if row.status != "ok"]
        yield title, lines, notes


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `table.csv` and `table.md`; returns their paths."""
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(markdown(table))
    return [folder / "table.csv", folder / "table.md"]


def markdown(table: pd.DataFrame) -> str:
    """Every shape as a Markdown table under its title."""
    from tabulate import tabulate

    parts = ["# Step time against peak memory\n", LEGEND]
    for title, lines, notes in grouped(table):
        headings = [*HEADINGS, *HEADINGS_MORE]
        parts.append(f"\n## {title}\n\n{tabulate(lines, headings, tablefmt='github', disable_numparse=True)}\n")
        parts += [f"\n- {note}" for note in notes] + (["\n"] if notes else [])
    return "\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


LEGEND = """
`*` on the Pareto front of step time and compiled peak · `x none` relative to the same case without rematerialization,
with a bootstrap 95 % interval for time · compiled peak: the compiler's plan · measured peak: read while steps ran ·
residuals: what autodiff saves · recomputed: FLOPs done again, as a share of the model's · grads equal: loss and
gradients agree with strategy none within the tolerance of the dtype.
"""
