"""The page of a run. It needs no network: its Content-Security-Policy forbids every request.

Charts are SVG by matplotlib, the table is HTML, and one script adds tooltips, the filter and sorting. Without scripts
the page still shows the first figure of each chart and every case.
"""

from __future__ import annotations

import base64
import gzip
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from artifex_bench.core import units
from artifex_bench.core.record import Record
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import text
from artifex_bench.report.html.charts import draw_charts
from artifex_bench.report.html.table import find_varying_axes, make_lines
from artifex_bench.report.plots.style import case_styles
from artifex_bench.report.tables import make_grids, split_tables

if TYPE_CHECKING:
    from artifex_bench.advice.words import AdviceText

ROWS = 50  # of the table, shown at a time


def write_page(records: Sequence[Record], advice: Sequence[AdviceText], name: str, path: Path, left: int = 0) -> Path:
    """Write the page of a run.

    Args:
        records: The run's records.
        advice: The recommendations that the page opens with; if empty, the page says that there are none.
        name: The run's name.
        path: The file to write.
        left: Number of jobs of the run that have not run yet.

    Returns:
        The path.
    """
    whole = make_frame(records)
    (kind, table, rows), *others = split_tables(whole)
    grids = list(make_grids(kind, table, rows))
    axes = find_varying_axes(rows, kind, grids)
    lines = list(make_lines(grids, axes))
    charts = list(draw_charts(rows, table, case_styles(whole), {one.group: one.choice for one in advice}))
    page = _template().render(
        name=name,
        kind=kind.name,
        title=table.title,
        facts=[
            *_facts(records, rows),
            *([f"unfinished: {left} jobs are still to be made"] if left else []),
            *(f"{len(more)} cases more: table.md" for *_, more in others),
        ],
        advice=advice,
        tradeoffs=[chart for chart in charts if not chart.key.startswith("scaling")],
        scalings=[chart for chart in charts if chart.key.startswith("scaling")],
        headings=[*axes, *(column.heading for column in kind.columns_of(table))],
        example=lines[0].name.replace(",", ""),
        lines=lines,
        rows=ROWS,
        only=lines[0].shape if len({line.shape for line in lines}) == 1 else None,
        notes=[(grid.title, note) for grid in grids for note in grid.notes],
        legend=" ".join(table.legend.replace("`", "").split()),
        environment=_environment(records),
        packed={"csv": text.format_csv(whole), "json": text.format_json_rows(whole)},
        styles=Markup(_read_asset("page.css")),
        script=Markup(_read_asset("page.js")),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _template() -> Any:
    loader = Environment(
        loader=PackageLoader("artifex_bench.report.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
    )
    loader.filters["packed"] = _pack
    return loader.get_template("page.html")


def _read_asset(name: str) -> str:
    return (importlib.resources.files("artifex_bench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """`text.make_printable` of a text; our own markup, and values of other types, as they are."""
    return text.make_printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _pack(content: str) -> str:
    """Text as gzip in base 64, which a script element can hold; equal texts give equal results."""
    return base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()


def _facts(records: Sequence[Record], table: pd.DataFrame) -> list[str]:
    """What the run is, in a few words each."""
    counts = ", ".join(f"{count} {status}" for status, count in table.status.value_counts().items())
    rounds = table.rounds.max()
    days = sorted({record.started_at[:10] for record in records if record.started_at})
    return [
        f"{len(table)} cases ({counts})",
        f"{rounds} round{'s' if rounds > 1 else ''}",
        *dict.fromkeys(str(r.environment["device"]) for r in records if "device" in r.environment),
        *([" to ".join(dict.fromkeys((days[0], days[-1])))] if days else []),
    ]


def _environment(records: Sequence[Record]) -> dict[str, str]:
    """Each setting in words; several where the run's records differ. Load is left out, because it always differs."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.environment.items():
            for name, one in value.items() if isinstance(value, Mapping) else ((key.replace("_", " "), value),):
                words = units.format_bytes(one) if key == "memory_bytes" else str(one)
                seen.setdefault(name.removesuffix(" bytes"), {})[words] = None
    return {name: "; ".join(values) for name, values in seen.items() if name != "load"}
