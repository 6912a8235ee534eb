"""Model checkpointing: one training state, saved and restored in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from artifex_bench.checkpoint_io import formats
from artifex_bench.core import units
from artifex_bench.core.case import CheckpointCase
from artifex_bench.core.columns import (
    Column,
    Compared,
    axis_column,
    axis_columns,
    common_columns,
    constant_column,
    interval_column,
    show_status,
    timed_column,
)
from artifex_bench.core.fields import axis_names
from artifex_bench.core.kind import Kind, Table, group_by_axes
from artifex_bench.core.record import Record
from artifex_bench.core.results import CaseResult, Interval, ratio_of_medians, values_by_round
from artifex_bench.core.stats import summarize
from artifex_bench.suites import checkpoint

if TYPE_CHECKING:
    import pandas as pd

TABLE = "checkpoint"
SHOWN: dict[str, Any] = {"tables": (TABLE,)}
SHAPE = tuple(axis for axis in axis_names(CheckpointCase) if axis not in ("format", "mode", "seed"))


def _ratio(probe: str, raw: str) -> Callable[[CaseResult], Interval]:
    """Return a function for the ratio of two probes that the same processes took in turns."""
    return lambda result: ratio_of_medians(values_by_round(result.rounds, probe), values_by_round(result.rounds, raw))


def _peak_ratio(probe: str) -> Callable[[CaseResult], float | None]:
    def divide(result: CaseResult) -> float | None:
        peak, size = result.median(probe)[0], result.first("state_bytes")
        return peak / size if peak is not None and size else None

    return divide


AXES = (
    axis_column("format", doc="Our layout, plain Orbax, or a peer.", heading="format", priority=0, **SHOWN),
    axis_column("mode", doc="`sync` or `async`.", heading="mode", priority=0, **SHOWN),
)
TIMED = Compared(threshold=0.25)  # medians of a disk vary
FIGURES = (
    timed_column(
        "blocking_seconds", "Until training may continue; wall clock.", heading="blocking", compared=TIMED, **SHOWN
    ),
    timed_column(
        "committed_seconds",
        "Until every file is on the disk; wall clock.",
        heading="committed",
        compared=TIMED,
        **SHOWN,
    ),
    Column(
        "write_ratio",
        "Ratio of `committed_seconds` to `raw_write_seconds`.",
        _ratio("committed_seconds", "raw_write_seconds"),
        "ratio",
        interval=True,
        heading="vs raw",
        **SHOWN,
    ),
    interval_column("write_ratio", **SHOWN),
    timed_column(
        "lost_seconds",
        "Training time that one save costs a running loop with donated buffers.",
        heading="lost",
        priority=2,
        **SHOWN,
    ),
    timed_column(
        "restore_seconds",
        "Until the state is back on the devices; wall clock, blocked until ready.",
        heading="restore",
        compared=TIMED,
        **SHOWN,
    ),
    Column(
        "read_ratio",
        "Ratio of `restore_seconds` to `raw_read_seconds`.",
        _ratio("restore_seconds", "raw_read_seconds"),
        "ratio",
        interval=True,
        heading="vs raw",
        **SHOWN,
    ),
    interval_column("read_ratio", **SHOWN),
    constant_column(
        "disk_bytes",
        "Bytes of the files that the save left.",
        "bytes",
        heading="on disk",
        compared=Compared(0.01, exact=True),
        **SHOWN,
    ),
    constant_column("disk_files", "Number of files that the save left.", "count", heading="files", priority=3, **SHOWN),
    Column(
        "save_peak_ratio",
        "Ratio of `save_peak_bytes` to `state_bytes`.",
        _peak_ratio("save_peak_bytes"),
        "ratio",
        heading="save memory",
        priority=3,
        **SHOWN,
    ),
    Column(
        "restore_peak_ratio",
        "Ratio of `restore_peak_bytes` to `state_bytes`.",
        _peak_ratio("restore_peak_bytes"),
        "ratio",
        heading="restore memory",
        priority=3,
        **SHOWN,
    ),
    Column("shown_status", heading="status", text=show_status, **SHOWN),
    constant_column("state_bytes", "Bytes of the state that is saved, from the sizes of its arrays.", "bytes"),
    timed_column("raw_write_seconds", "One file of the same bytes, written and synced beside it."),
    timed_column("raw_read_seconds", "That file, read."),
    timed_column("training_step_seconds", "A step of the loop of `lost_seconds` without a save."),
    timed_column("save_peak_bytes", "Additional resident memory of a save: the rise of VmHWM (Linux).", "bytes"),
    timed_column("restore_peak_bytes", "Additional resident memory of a restore, its arrays included.", "bytes"),
)


def group_by_state(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, rows) of each training state and way to restore it, the fastest save first."""
    for shape, rows in group_by_axes(table, (*SHAPE, "seed")):
        yield describe_state(shape), rows.sort_values("committed_seconds", na_position="last", kind="stable")


def describe_state(shape: Mapping[str, Any]) -> str:
    """Return a state in words: ``64.0 MiB in 16 arrays, float32, random``, and what differs from the defaults."""
    words = [
        f"{units.format_bytes(shape['size'])} in {int(shape['arrays'])} arrays",
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
    if units.is_present(shape["chunk"]):
        words.append(f"chunks of {units.format_bytes(shape['chunk'])}")
    if shape["seed"]:
        words.append(f"seed {int(shape['seed'])}")
    return ", ".join(words)


def _describe_times(record: Record) -> str:
    taken = {name: summarize(values_by_round([record], f"{name}_seconds")) for name in ("committed", "restore")}
    return ", ".join(f"{name} {units.format_seconds(found.median if found else None)}" for name, found in taken.items())


KIND = Kind(
    case_type=CheckpointCase,
    suites={"checkpoint": checkpoint.SUITE},
    measure="artifex_bench.checkpoint_io.save_restore:measure",
    columns=(*common_columns(axis_columns(CheckpointCase, AXES)), *FIGURES),
    tables=(
        Table(
            name=TABLE,
            title="Checkpoints: saving and restoring a training state",
            legend="""
blocking: until training may continue · committed: until every file is on the disk · vs raw: relative to one file of the
same bytes, written and synced (or read) beside it, with a bootstrap 95 % interval · lost: training time that one save
costs a running loop · restore: until the state is back on the devices, bit-equal to what was saved ·
save and restore memory: additional resident memory, as a multiple of the state.
""",
            group_rows=group_by_state,
            plots="artifex_bench.report.plots.runs:plot_checkpoint_run",
            describe_outcome=_describe_times,
            default_budgets=lambda table: {"mtbf_seconds": 4 * 3600.0},
            shape=SHAPE,
        ),
    ),
    check_case=formats.check_case,
    example="--format auto,orbax --size 64MiB,256MiB",
)
