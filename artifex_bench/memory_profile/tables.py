"""Tables and files of a profile: the buffers at the compiled peak, the residuals, and what a strategy removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import Record
from artifex_bench.kinds.frames import make_encodable
from artifex_bench.memory_profile import BUFFERS, LIVE, RESIDUALS
from artifex_bench.report import text

TOP = 20  # groups that a table of buffers names; others share a line
PEAK_HEADINGS = ("bytes", "share", "buffers", "scope", "operation", "pass", "shape", "source")
PEAK_LEFT = (3, 4, 5, 6, 7)
RESIDUAL_HEADINGS = ("bytes", "share", "values", "scope", "operation", "name", "shape", "dtype", "source")
RESIDUAL_LEFT = (3, 4, 5, 6, 7, 8)
_PEAK_COLUMNS = ("scope", "operation", "phase", "shape", "source")
_RESIDUAL_COLUMNS = ("scope", "operation", "name", "shape", "dtype", "source")
ABSENT = units.ABSENT
Row = Mapping[str, Any]
Group = dict[str, Any]  # a row with `count`, its bytes summed
Grid = tuple[str, Sequence[str], Sequence[int], list[list[str]], list[str]]  # title, headings, left, lines, notes


def list_rows(record: Record, probe: str) -> list[Row]:
    """Return the rows in the detail of a probe, largest first; empty if it was not taken."""
    measurement = record.get(probe)
    return list(measurement.detail.get("rows", ())) if measurement is not None else []


def group_rows(rows: Sequence[Row]) -> list[Group]:
    """Return one group for all rows that differ only in their bytes: with their number and total bytes, largest first.

    Arguments are grouped by the tree that holds them (params, optimizer, batch).
    """
    groups: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "bytes"}
        if fields.get("phase") == "argument" and not fields["operation"].startswith("copy of "):
            fields |= {"operation": fields["operation"].partition(".")[0], "shape": ""}
        group = groups.setdefault(tuple(fields.values()), {**fields, "bytes": 0, "count": 0})
        group["bytes"] += row["bytes"]
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["bytes"])


def make_tables(record: Record) -> Iterator[Grid]:
    """Yield the tables of a case: the buffers at its compiled peak, and its residuals."""
    peak, saved = record.value("compiled_peak_bytes"), record.value("residual_bytes")
    strategy = _strategy(record)
    buffers, live = list_rows(record, BUFFERS), record.get(LIVE)
    if buffers and live is not None and live.values:
        lines = _format_groups(group_rows(buffers), _PEAK_COLUMNS, total="compiled peak")
        at = live.detail["at"]
        words = " ".join(filter(None, (at["phase"], at["scope"], at["operation"], at["source"])))
        moment = f"at instruction {live.detail['moment'] + 1} of {len(live.values)}: {words}"
        yield (
            f"{strategy}: alive at the compiled peak, {units.format_bytes(peak)}",
            PEAK_HEADINGS,
            PEAK_LEFT,
            lines,
            [moment],
        )
    elif (taken := record.get(BUFFERS)) is not None:
        yield f"{strategy}: compiled peak {units.format_bytes(peak)}", PEAK_HEADINGS, PEAK_LEFT, [], [taken.note]
    if (taken := record.get(RESIDUALS)) is not None:
        residuals = group_rows(list_rows(record, RESIDUALS))
        lines = _format_groups(residuals, _RESIDUAL_COLUMNS, total="residuals", limit=TOP // 2) if residuals else []
        title = f"{strategy}: saved by autodiff for the backward pass, {units.format_bytes(saved)}"
        yield title, RESIDUAL_HEADINGS, RESIDUAL_LEFT, lines, [taken.note] if taken.note else []


def _strategy(record: Record) -> str:
    return record.case.strategy if isinstance(record.case, RematCase) else ""


def _format_groups(groups: list[Group], columns: Sequence[str], total: str, limit: int = TOP) -> list[list[str]]:
    """Return a line for each of the largest groups, one for the others, and their sum. Shares are of that sum."""
    everything = sum(group["bytes"] for group in groups)

    def line(size: int, count: Any, cells: Sequence[str]) -> list[str]:
        share = f"{size / everything:.1%}" if everything else ABSENT  # arrays may be empty
        return [units.format_bytes(size), share, str(count), *(cell or ABSENT for cell in cells)]

    named = [group for group in groups if group.get("phase") != ""]  # others are differences, which have no pass
    lines = [line(group["bytes"], group["count"], [group[name] for name in columns]) for group in named[:limit]]
    blank = [""] * (len(columns) - 2)
    rest = named[limit:]
    if rest:
        count = sum(group["count"] for group in rest)
        lines.append(line(sum(group["bytes"] for group in rest), count, ["", "the rest", *blank]))
    for group in groups:
        if group.get("phase") == "":
            lines.append(line(group["bytes"], ABSENT, ["", group["operation"], *blank]))
    return [*lines, line(everything, sum(group["count"] for group in named), ["", total, *blank])]


def compare_buffers(one: Sequence[Row], other: Sequence[Row]) -> list[Group]:
    """Return the bytes of every kind of buffer in two peaks, the largest difference first.

    A kind is an operation of a scope, whatever its shapes.

    Returns:
        For each kind `one`, `other` and `difference` (`one` less `other`) in bytes. The differences sum to that of the
        peaks.
    """
    kinds: dict[tuple[Any, ...], Group] = {}
    for column, rows in (("one", one), ("other", other)):
        for group in group_rows(rows):
            fields = {name: group[name] for name in ("scope", "operation", "phase", "source")}
            kind = kinds.setdefault(tuple(fields.values()), {"one": 0, "other": 0, **fields, "shape": group["shape"]})
            kind[column] += group["bytes"]
            if kind["shape"] != group["shape"]:
                kind["shape"] = "several"
    for kind in kinds.values():
        kind["difference"] = kind["one"] - kind["other"]
    return sorted(kinds.values(), key=lambda kind: -kind["difference"])


def make_comparison(one: Record, other: Record) -> Grid:
    """Return the table of what the peaks of two cases hold more or less of."""
    names = [_strategy(record) for record in (one, other)]
    compared = compare_buffers(list_rows(one, BUFFERS), list_rows(other, BUFFERS))
    lines = []
    for sign, limit in ((1, TOP), (-1, TOP // 2)):
        kinds = [kind for kind in compared if kind["difference"] * sign > 0][::sign]
        lines += [_format_difference(kind) for kind in kinds[:limit]]
        if kinds[limit:]:
            lines.append(_format_difference(_add_kinds(kinds[limit:], f"the rest ({'+' if sign > 0 else '-'})")))
    equal = [kind for kind in compared if not kind["difference"]]
    lines.append(_format_difference(_add_kinds(equal, "equal in both")))
    lines.append(_format_difference(_add_kinds(compared, "compiled peak")))
    title = f"bytes at the peak: more with {names[0]} (+), more with {names[1]} (-)"
    headings = ("difference", *names, "scope", "operation", "pass", "shape", "source")
    return title, headings, (3, 4, 5, 6, 7), lines, []


def _add_kinds(kinds: Sequence[Group], operation: str) -> Group:
    return {
        **{name: sum(kind[name] for kind in kinds) for name in ("one", "other", "difference")},
        "operation": operation,
    }


def _format_difference(kind: Group) -> list[str]:
    sign = "-" if kind["difference"] < 0 else "+" if kind["difference"] else ""
    sizes = [
        sign + units.format_bytes(abs(kind["difference"])),
        units.format_bytes(kind["one"]),
        units.format_bytes(kind["other"]),
    ]
    cells = (kind.get(name, "") for name in ("scope", "operation", "phase", "shape", "source"))
    return [*sizes, *(cell or (ABSENT if "scope" in kind else "") for cell in cells)]


def write_profile(record: Record, folder: Path) -> list[Path]:
    """Write every row of a case to `buffers.csv` and `residuals.csv`, its timeline to `live.png` and `timeline.html`.

    Returns:
        The paths of the files. Measurements that were not taken have no file.
    """
    from artifex_bench.memory_profile import page, timeline

    written = []
    for probe, name in ((BUFFERS, "buffers.csv"), (RESIDUALS, "residuals.csv")):
        if rows := list_rows(record, probe):
            (folder / name).write_text(_format_csv(rows), encoding="utf-8")
            written.append(folder / name)
    written += timeline.write_timeline([record], folder / "live.png")
    return written + page.write_timeline_page([record], folder / "timeline.html")


def write_comparison(one: Record, other: Record, folder: Path) -> list[Path]:
    """Write every kind of buffer in either peak to `removed.csv`, both timelines to `live.png` and `timeline.html`.

    Returns:
        The paths of the files.
    """
    from artifex_bench.memory_profile import page, timeline

    written = []
    if compared := compare_buffers(list_rows(one, BUFFERS), list_rows(other, BUFFERS)):
        (folder / "removed.csv").write_text(_format_csv(compared, {"one": "first", "other": "second"}), "utf-8")
        written.append(folder / "removed.csv")
    written += timeline.write_timeline([one, other], folder / "live.png")
    return written + page.write_timeline_page([one, other], folder / "timeline.html")


def _format_csv(rows: Sequence[Row], headings: Mapping[str, str] | None = None) -> str:
    """Return rows as CSV. `headings` renames columns."""
    table = pd.DataFrame([{name: make_encodable(value) for name, value in row.items()} for row in rows])
    return text.format_csv(table.rename(columns=headings or {}))
