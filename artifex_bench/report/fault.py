"""How fault runs are told: what restores give back from damaged files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.record import Record
from artifex_bench.report.frame import base

TITLE = "Damaged checkpoints: detected, intact, or silently wrong"
HEADINGS = ("format", "fault", "trials", "detected", "intact", "silently wrong", "share", "status")
LEFT = (0, 1, 7)
PLOTS = "plot_fault_run"
LEGEND = """
each trial damages one file of a fresh copy in one random place and restores · detected: the restore raised · intact:
every bit came back in spite of the damage · silently wrong: something else came back, without a word.
"""
OUTCOMES = ("detected_trials", "intact_trials", "silent_trials")


def rows(by_case: Mapping[Any, list[Record]]) -> list[dict[str, Any]]:
    """A row a case: see `load_run`. Trials of all rounds count together."""
    return [_row(case, rounds) for case, rounds in by_case.items()]


def _row(case: Any, rounds: list[Record]) -> dict[str, Any]:
    row = base(case, rounds)
    for name in OUTCOMES:
        counts = [v.value(name) for v in rounds if v.value(name) is not None]
        row[name] = sum(c for c in counts if c is not None) if counts else None
    known = all(row[name] is not None for name in OUTCOMES)  # not of a process that ended while it told them
    total = sum(row[name] for name in OUTCOMES) if known else 0
    row["silent_share"] = row["silent_trials"] / total if total else None
    return row


def shapes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each kind of state, with it in words."""
    for (dtype, size, arrays, seed), found in table.groupby(["dtype", "size", "arrays", "seed"], sort=False):
        yield f"{units.size(size)} in {arrays} arrays, {dtype}" + (f", seed {seed}" if seed else ""), found


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each kind of state."""
    for title, found in shapes(table):
        lines = [
            [
                row.format,
                row.fault,
                str(row.trials),
                *(
                    units.ABSENT if not units.there(getattr(row, name)) else f"{getattr(row, name):.0f}"
                    for name in OUTCOMES
                ),
                units.ABSENT if not units.there(row.silent_share) else f"{row.silent_share:.0%}",
                row.status,
            ]
            for row in found.itertuples()
        ]
        fell = found[found.status != "ok"]
        notes = [f"{row.format}, {row.fault}: {row.status}: {row.reason}" for row in fell.itertuples()]
        yield title, lines, notes


def usual(table: pd.DataFrame) -> None:
    """No advice is given."""


def outcome(record: Record) -> str:
    """A job in a few words, for progress lines."""
    return ", ".join(f"{record.value(name):.0f} {name.removesuffix('_trials')}" for name in OUTCOMES)
