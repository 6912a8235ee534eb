"""Tables: `table.csv` with every column, `table.md` with those that decide."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from artifex_bench.report.views import view_of


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `table.csv` and `table.md`; returns their paths."""
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(markdown(table))
    return [folder / "table.csv", folder / "table.md"]


def markdown(table: pd.DataFrame) -> str:
    """The table that decides as Markdown, a section for each group of cases, under a title and a legend."""
    view = view_of(table)
    return f"# {view.TITLE}\n{view.LEGEND.strip()}\n{sections(table)}"


def sections(table: pd.DataFrame) -> str:
    """The same without title and legend."""
    from tabulate import tabulate

    view = view_of(table)
    parts = []
    for title, lines, notes in view.grouped(table):
        parts.append(f"\n## {title}\n\n{tabulate(lines, view.HEADINGS, tablefmt='github', disable_numparse=True)}\n")
        parts += [f"\n- {note}" for note in notes] + (["\n"] if notes else [])
    return "\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
