"""The column tables of docs/data.md, from the columns of every kind.

Run `python -m artifex_bench.report.data_docs` after a change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from artifex_bench.core.columns import Column
from artifex_bench.core.kind import Kind
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.kinds.max_batch import COLUMNS

START, END = "<!-- columns: made by python -m artifex_bench.report.data_docs -->", "<!-- end of columns -->"


def make_column_docs() -> str:
    """Return a Markdown section with a table of columns for each kind."""
    sections = [_section(name, load_kind(name)) for name in KINDS]
    rows = "\n".join(_rows(COLUMNS))
    sections.append(f"## Columns of `max_batch.csv`\n\nOne row per search.\n\n{HEADER}\n{rows}")
    return "\n\n".join(sections)


HEADER = "| column | unit | what it is | interval |\n|---|---|---|---|"


def _section(name: str, kind: Kind) -> str:
    suites = ", ".join(kind.suites)
    rows = "\n".join(_rows(kind.columns))
    return f"## Columns of kind `{name}`\n\nSuites: {suites}.\n\n{HEADER}\n{rows}"


def _rows(columns: tuple[Column, ...]) -> Iterator[str]:
    for column in columns:
        if column.doc:
            unit = "" if column.unit in ("text", "flag") else column.unit
            doc = column.doc.replace("|", "\\|")
            yield f"| `{column.name}` | {unit} | {doc} | {'±' if column.interval else ''} |"


def update_docs(path: Path) -> bool:
    """Write the column tables into docs/data.md; returns whether they have changed."""
    text = path.read_text(encoding="utf-8")
    made = f"{START}\n\n{make_column_docs()}\n\n{END}"
    updated = re.sub(f"{re.escape(START)}.*?{re.escape(END)}", lambda _: made, text, flags=re.DOTALL)
    path.write_text(updated, encoding="utf-8")
    return updated != text


if __name__ == "__main__":
    update_docs(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/data.md"))
