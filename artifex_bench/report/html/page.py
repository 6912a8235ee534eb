"""The page of a run. It needs no network: its Content-Security-Policy forbids every request.

Charts are SVG by matplotlib, tables are HTML, and the scripts add tooltips, filters, sorting, links to a view and the
memory budget. Without scripts the page still shows the first figure of each chart and every case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from artifex_bench.core.kind import Kind, Table, case_names
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import text
from artifex_bench.report.html.about import describe_command, describe_environment, describe_run, describe_settings
from artifex_bench.report.html.charts import draw_charts
from artifex_bench.report.html.heatmap import make_heatmaps
from artifex_bench.report.html.render import write_template
from artifex_bench.report.html.table import find_varying_axes, make_facets, make_lines
from artifex_bench.report.plots.style import case_styles
from artifex_bench.report.tables import Grid, make_grids, split_tables

if TYPE_CHECKING:
    from artifex_bench.advice.words import AdviceText

ROWS = 50  # of the table, shown at a time


def write_page(
    records: Sequence[Record],
    advice: Sequence[AdviceText],
    name: str,
    path: Path,
    left: int = 0,
    spec: RunSpec | None = None,
    rankings: Sequence[Mapping[str, Any]] = (),
    frame: pd.DataFrame | None = None,
) -> Path:
    """Write the page of a run.

    Args:
        records: The run's records.
        advice: The recommendations that the page opens with; if empty, the page says that there are none.
        name: The run's name.
        path: The file to write.
        left: Number of jobs of the run that have not run yet.
        spec: What the run was asked for; None if that is not known.
        rankings: The candidates of each group under any memory budget (`advice.words.describe_ranking`).
        frame: The rows of the records, if they are made already, because intervals take 5 ms per case.

    Returns:
        The path.
    """
    whole = make_frame(records) if frame is None else frame
    (kind, table, rows), *others = split_tables(whole, spec.suite if spec else None)
    grids = list(_make_page_grids(kind, table, rows))
    axes = find_varying_axes(rows, kind, grids)
    frozen, columns = kind.naming_axes[0], kind.columns_of(table)
    lines = list(make_lines(grids, axes, frozen))
    # the name of a case comes first
    headings = [column.heading for column in sorted(columns, key=lambda column: column.name != frozen)]
    headings[1:1] = axes
    charts = []
    if not table.columns:  # its rows are cases
        charts = list(draw_charts(rows, table, case_styles(whole), {one.group: one.choice for one in advice}))
    failures = list_failures(rows)
    nouns = ("search", "searches") if table.columns else ("case", "cases")
    return write_template(
        "page.html",
        path,
        ("page.js", "budget.js", "ready.js"),
        name=name,
        kind=kind.name,
        title=table.title,
        facts=[
            *describe_run(records, rows),
            *([f"unfinished: {left} jobs are still to be made"] if left else []),
            *(f"{len(more)} cases more: table.md" for *_, more in others),
        ],
        advice=advice,
        rankings=rankings,
        heatmaps=list(make_heatmaps(table.name, rows)),
        tradeoffs=[chart for chart in charts if not chart.key.startswith("scaling")],
        scalings=[chart for chart in charts if chart.key.startswith("scaling")],
        headings=headings,
        example=lines[0].name.replace(",", ""),
        lines=lines,
        noun=nouns[len(lines) > 1],
        rows=ROWS,
        facets=[facet for facet in make_facets(lines, headings) if facet.heading not in ("fits", "budget")],
        only=lines[0].shape if len({line.shape for line in lines}) == 1 else None,
        failures=failures,
        notes=[
            (grid.title, note)
            for grid in grids
            for note in grid.notes
            if not any(note.endswith(f"{status}: {reason}") for status, reason in failures)
        ],
        legend=" ".join(table.legend.replace("`", "").split()),
        command=describe_command(spec) if spec else None,
        settings=describe_settings(spec) if spec else {},
        environment=describe_environment(records),
        packed={"csv": text.format_csv(whole), "json": text.format_json_rows(whole)},
    )


def list_failures(rows: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Return the cases that are not ok: (status, reason) -> their names."""
    failures: dict[tuple[str, str], list[str]] = {}
    failed = rows[rows.status != "ok"]
    for name, row in zip(case_names(failed) if len(failed) else [], failed.itertuples(), strict=True):
        failures.setdefault((row.status, row.reason), []).append(name)
    return failures


def _make_page_grids(kind: Kind, table: Table, rows: pd.DataFrame) -> Iterator[Grid]:
    """Yield the groups of a table. Rows that are not cases get indices that are unique over the page."""
    start = 0
    for grid in make_grids(kind, table, rows):
        if table.columns:
            frame = grid.frame.assign(kind=kind.name).set_index(pd.RangeIndex(start, start + len(grid.frame)))
            start += len(frame)
            yield replace(grid, frame=frame)
        else:
            yield grid
