"""How profiles are told: what the compiled peak is made of, what autodiff saves, and what a strategy removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import Record
from artifex_bench.kinds.frames import encodable
from artifex_bench.report import text

BUFFERS, RESIDUALS, LIVE = "peak_buffers", "saved_residuals", "live_bytes"
TOP = 20
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


def rows(record: Record, probe: str) -> list[Row]:
    """What that measurement lists, largest first; empty where it was not taken."""
    found = record.get(probe)
    return list(found.detail.get("rows", ())) if found is not None else []


def grouped(found: Sequence[Row]) -> list[Group]:
    """Rows that say the same as one, with their count and the sum of their bytes, largest first.

    Arguments are told by the tree they are of (params, optimizer, batch), whose arrays are many.
    """
    groups: dict[tuple[Any, ...], Group] = {}
    for row in found:
        told = {name: value for name, value in row.items() if name != "bytes"}
        if told.get("phase") == "argument" and not told["operation"].startswith("copy of "):
            told |= {"operation": told["operation"].partition(".")[0], "shape": ""}
        group = groups.setdefault(tuple(told.values()), {**told, "bytes": 0, "count": 0})
        group["bytes"] += row["bytes"]
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["bytes"])


def tables(record: Record) -> Iterator[Grid]:
    """The tables of one case: the buffers at its compiled peak, and what autodiff saves."""
    peak, saved = record.value("compiled_peak_bytes"), record.value("residual_bytes")
    found, live = rows(record, BUFFERS), record.get(LIVE)
    strategy = record.case.strategy if isinstance(record.case, RematCase) else ""
    if found and live is not None and live.values:
        lines = _top(grouped(found), _PEAK_COLUMNS, total="compiled peak")
        at = live.detail["at"]
        words = " ".join(filter(None, (at["phase"], at["scope"], at["operation"], at["source"])))
        moment = f"at instruction {live.detail['moment'] + 1} of {len(live.values)}: {words}"
        yield f"{strategy}: alive at the compiled peak, {units.size(peak)}", PEAK_HEADINGS, PEAK_LEFT, lines, [moment]
    elif (taken := record.get(BUFFERS)) is not None:
        yield f"{strategy}: compiled peak {units.size(peak)}", PEAK_HEADINGS, PEAK_LEFT, [], [taken.note]
    saves = rows(record, RESIDUALS)
    if (taken := record.get(RESIDUALS)) is not None:
        lines = _top(grouped(saves), _RESIDUAL_COLUMNS, total="residuals", limit=TOP // 2) if saves else []
        title = f"{strategy}: saved by autodiff for the backward pass, {units.size(saved)}"
        yield title, RESIDUAL_HEADINGS, RESIDUAL_LEFT, lines, [taken.note] if taken.note else []


def _top(groups: list[Group], columns: Sequence[str], total: str, limit: int = TOP) -> list[list[str]]:
    """Lines of the largest groups, then what is not named one by one, and the sum; shares of that sum."""
    everything = sum(group["bytes"] for group in groups)

    def line(size: int, count: Any, cells: Sequence[str]) -> list[str]:
        share = f"{size / everything:.1%}" if everything else ABSENT  # arrays may be empty
        return [units.size(size), share, str(count), *(cell or ABSENT for cell in cells)]

    named = [group for group in groups if group.get("phase") != ""]  # else: what is left over, which has no pass
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


def difference(one: Sequence[Row], other: Sequence[Row]) -> list[Group]:
    """What each holds of every kind of buffer: `one`, `other`, `difference` (one less other), largest first.

    A kind is an operation of a scope, in whatever shapes. The differences sum to that of the peaks.
    """
    found: dict[tuple[Any, ...], Group] = {}
    for column, of in (("one", one), ("other", other)):
        for group in grouped(of):
            told = {name: group[name] for name in ("scope", "operation", "phase", "source")}
            kind = found.setdefault(tuple(told.values()), {"one": 0, "other": 0, **told, "shape": group["shape"]})
            kind[column] += group["bytes"]
            if kind["shape"] != group["shape"]:
                kind["shape"] = "several"
    for kind in found.values():
        kind["difference"] = kind["one"] - kind["other"]
    return sorted(found.values(), key=lambda kind: -kind["difference"])


def comparison(one: Record, other: Record) -> Grid:
    """What the first holds at its peak and the second does not, and the other way round."""
    names = [record.case.strategy if isinstance(record.case, RematCase) else "" for record in (one, other)]
    found = difference(rows(one, BUFFERS), rows(other, BUFFERS))
    lines = []
    for sign, limit in ((1, TOP), (-1, TOP // 2)):
        kinds = [kind for kind in found if kind["difference"] * sign > 0][::sign]
        lines += [_difference_line(kind) for kind in kinds[:limit]]
        if kinds[limit:]:
            rest = {name: sum(kind[name] for kind in kinds[limit:]) for name in ("one", "other", "difference")}
            lines.append(_difference_line({**rest, "operation": f"the rest ({'+' if sign > 0 else '-'})"}))
    same = [kind for kind in found if not kind["difference"]]
    for what, kinds in (("the same in both", same), ("compiled peak", found)):
        sums = {name: sum(kind[name] for kind in kinds) for name in ("one", "other", "difference")}
        lines.append(_difference_line({**sums, "operation": what}))
    title = f"held at the peak by {names[0]} and not by {names[1]} (+), and the other way round (-)"
    headings = ("difference", *names, "scope", "operation", "pass", "shape", "source")
    return title, headings, (3, 4, 5, 6, 7), lines, []


def _difference_line(kind: Group) -> list[str]:
    sign = "-" if kind["difference"] < 0 else "+" if kind["difference"] else ""
    sizes = [sign + units.size(abs(kind["difference"])), units.size(kind["one"]), units.size(kind["other"])]
    cells = (kind.get(name, "") for name in ("scope", "operation", "phase", "shape", "source"))
    return [*sizes, *(cell or (ABSENT if "scope" in kind else "") for cell in cells)]


def write(record: Record, folder: Path) -> list[Path]:
    """`buffers.csv` and `residuals.csv`, every row, and `live.png`, as far as they were taken; returns their paths."""
    from artifex_bench.memory_profile import timeline

    written = []
    for probe, name in ((BUFFERS, "buffers.csv"), (RESIDUALS, "residuals.csv")):
        if found := rows(record, probe):
            (folder / name).write_text(_csv(found), encoding="utf-8")
            written.append(folder / name)
    return written + timeline.write([record], folder / "live.png")


def write_comparison(one: Record, other: Record, folder: Path) -> list[Path]:
    """`removed.csv`, every kind of buffer in either peak, and `live.png`, both side by side; returns their paths."""
    from artifex_bench.memory_profile import timeline

    written = []
    if found := difference(rows(one, BUFFERS), rows(other, BUFFERS)):
        (folder / "removed.csv").write_text(_csv(found, {"one": "first", "other": "second"}), encoding="utf-8")
        written.append(folder / "removed.csv")
    return written + timeline.write([one, other], folder / "live.png")


def _csv(found: Sequence[Row], called: Mapping[str, str] | None = None) -> str:
    """Rows as CSV, with the columns that are `called` otherwise."""
    table = pd.DataFrame([{name: encodable(value) for name, value in row.items()} for row in found])
    return text.csv(table.rename(columns=called or {}))
