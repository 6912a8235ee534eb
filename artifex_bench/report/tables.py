"""Tables: `table.csv` with every column, `table.md` with those that decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.report import text
from artifex_bench.report.views import parts


def write(table: pd.DataFrame, folder: Path, suite: str | None = None) -> list[Path]:
    """Write `table.csv` and `table.md`; returns their paths."""
    (folder / "table.csv").write_text(text.csv(table), encoding="utf-8")
    (folder / "table.md").write_text(markdown(table, suite), encoding="utf-8")
    return [folder / "table.csv", folder / "table.md"]


def markdown(table: pd.DataFrame, suite: str | None = None) -> str:
    """The table that decides as Markdown, a section for each group of cases, under a title and a legend."""
    told = ((view, _sections(view, rows)) for view, rows in parts(table, suite))
    return "\n".join(f"# {view.TITLE}\n{view.LEGEND.strip()}\n{tables}" for view, tables in told)


def sections(table: pd.DataFrame) -> str:
    """The same without title and legend."""
    return "\n".join(_sections(view, rows) for view, rows in parts(table))


def grid(lines: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    """Cells as a Markdown table. Names are the user's: what is markup in one, or a border, is escaped."""
    from tabulate import tabulate

    escaped = [[text.markdown(cell) for cell in line] for line in lines]
    return tabulate(escaped, headings, tablefmt="github", disable_numparse=True)


def _sections(view: Any, rows: pd.DataFrame) -> str:
    written = []
    for title, lines, notes in view.grouped(rows):
        written.append(f"\n## {text.markdown_block(title)}\n\n{grid(lines, view.HEADINGS)}\n")
        written += [f"\n- {text.markdown_block(note)}" for note in notes] + (["\n"] if notes else [])
    return "\n".join(part.strip("\n") for part in written if part.strip()) + "\n"
