"""Tables: `table.csv` with every column, `table.md` with those that decide."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from artifex_bench.report.views import parts


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `table.csv` and `table.md`; returns their paths."""
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(markdown(table))
    return [folder / "table.csv", folder / "table.md"]


def markdown(table: pd.DataFrame) -> str:
    """The table that decides as Markdown, a section for each group of cases."""
    from tabulate import tabulate

    text = []
    for view, rows in parts(table):
        text += [f"# {view.TITLE}\n", view.LEGEND]
        for title, lines, notes in view.grouped(rows):
            grid = tabulate(lines, view.HEADINGS, tablefmt="github", disable_numparse=True)
            text.append(f"\n## {title}\n\n{grid}\n")
            text += [f"\n- {note}" for note in notes] + (["\n"] if notes else [])
    return "\n".join(part.strip("\n") for part in text if part.strip()) + "\n"
