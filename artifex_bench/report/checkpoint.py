"""How checkpoint runs are told: their rows, and the columns that decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.record import Record
from artifex_bench.report.frame import base, first, groups, medians, ratio, summary

TITLE = "Checkpoints: saving and restoring a training state"
HEADINGS = (
    *("format", "mode", "blocking", "committed", "x raw", "95 %", "lost", "restore", "x raw", "95 %"),
    *("on disk", "files", "save memory", "restore memory", "status"),
)
LEFT = (0, 1, 14)
PLOTS = "plot_checkpoint_run"
LEGEND = """
blocking: until training may go on · committed: until every file is on the disk · x raw: relative to one file of the
same bytes, written and synced (or read) beside it, with a bootstrap 95 % interval · lost: training time that one save
costs a loop that goes on · restore: until the state is back on the devices, bit-equal to what was saved ·
save and restore memory: resident memory on top, as a multiple of the state.
"""
SHAPE = ("size", "arrays", "content", "dtype", "optimizer_state", "devices", "restore", "cache", "chunk")
ONCE = ("state_bytes", "disk_bytes", "disk_files")
TIMED = (
    "blocking_seconds",
    "committed_seconds",
    "restore_seconds",
    "lost_seconds",
    "raw_write_seconds",
    "raw_read_seconds",
    "training_step_seconds",
    "save_peak_bytes",
    "restore_peak_bytes",
)


def rows(by_case: Mapping[Any, list[Record]]) -> list[dict[str, Any]]:
    """A row a case: see `load_run`."""
    return [_row(case, rounds) for case, rounds in by_case.items()]


def _row(case: Any, rounds: list[Record]) -> dict[str, Any]:
    row = base(case, rounds)
    row |= {name: first(rounds, name) for name in ONCE}
    row |= medians(rounds, TIMED)
    # Both probes of a ratio were taken in turns, in the same processes.
    row |= ratio("write_ratio", groups(rounds, "committed_seconds"), groups(rounds, "raw_write_seconds"))
    row |= ratio("read_ratio", groups(rounds, "restore_seconds"), groups(rounds, "raw_read_seconds"))
    for name in ("save", "restore"):
        peak, size = row[f"{name}_peak_bytes"], row["state_bytes"]
        row[f"{name}_peak_ratio"] = peak / size if peak is not None and size else None
    return row


def shapes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each state and way to restore it, with these in words."""
    for key, found in table.groupby([*SHAPE, "seed"], sort=False, dropna=False):
        yield shape_title(dict(zip([*SHAPE, "seed"], key, strict=True))), found


def shape_title(shape: Mapping[str, Any]) -> str:
    """``64.0 MiB in 16 arrays, float32, random``, and what differs from the usual."""
    words = [
        f"{units.size(shape['size'])} in {int(shape['arrays'])} arrays",
        str(shape["dtype"]),
        str(shape["content"]),
    ]
    if shape["optimizer_state"]:
        words.append("with Adam's moments")
    if shape["devices"] != 1:
        words.append(f"on {int(shape['devices'])} devices")
    if shape["restore"] != "same":
        words.append({"reshard": "restored onto half of them", "partial": "half restored"}[str(shape["restore"])])
    if shape["cache"] != "warm":
        words.append("cold page cache")
    if units.there(shape["chunk"]):
        words.append(f"chunks of {units.size(shape['chunk'])}")
    if shape["seed"]:
        words.append(f"seed {int(shape['seed'])}")
    return ", ".join(words)


def cells(row: Any) -> list[str]:
    """A case's row in words, in the order of the headings."""
    return [
        row.format,
        row.mode,
        units.seconds(row.blocking_seconds),
        units.seconds(row.committed_seconds),
        units.ratio(row.write_ratio),
        units.interval(row.write_ratio_low, row.write_ratio_high),
        units.seconds(row.lost_seconds),
        units.seconds(row.restore_seconds),
        units.ratio(row.read_ratio),
        units.interval(row.read_ratio_low, row.read_ratio_high),
        units.size(row.disk_bytes),
        units.whole(row.disk_files),
        units.ratio(row.save_peak_ratio),
        units.ratio(row.restore_peak_ratio),
        row.status if not row.contended else f"{row.status}, contended",
    ]


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each shape; notes say what fell and why."""
    for title, found in shapes(table):
        ordered = found.sort_values("committed_seconds", na_position="last")
        fell = found[found.status != "ok"]
        notes = [f"{row.format}, {row.mode}: {row.status}: {row.reason}" for row in fell.itertuples()]
        yield title, [cells(row) for row in ordered.itertuples()], notes


def usual(table: pd.DataFrame) -> dict[str, float]:
    """A failure every four hours."""
    return {"mtbf_seconds": 4 * 3600.0}


def outcome(record: Record) -> str:
    """A job in a few words, for progress lines."""
    taken = {name: summary([record], f"{name}_seconds") for name in ("committed", "restore")}
    return ", ".join(f"{name} {units.seconds(found.median if found else None)}" for name, found in taken.items())
