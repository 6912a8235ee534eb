"""A run as one page that works from disk: recommendation, charts, table, environment, downloads. Needs no network.

Everything is within the file: plotly.js for charts, DataTables (as itables bundles it) for the table. The page forbids
itself every spec (its Content-Security-Policy). What is large is compressed, and the table has in the document only
the rows that are shown, so that a run of 1,000 cases opens as fast as one of ten.
"""

from __future__ import annotations

import base64
import gzip
import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from artifex_bench.core import units
from artifex_bench.core.fields import axis_names
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import text
from artifex_bench.report.charts import NAMED, Chart, charts, names, setting
from artifex_bench.report.views import parts

if TYPE_CHECKING:
    from artifex_bench.advice.choice import Advice

LAST = 1e300  # where what was not measured is sorted


@dataclass(frozen=True)
class Line:
    """A case in the page's table: its cells in words, and what each is sorted by (None: by its words)."""

    shape: str
    name: str
    ok: bool
    cells: list[tuple[str, float | None]]


def write(records: Sequence[Record], advice: Sequence[Advice], name: str, path: Path, left: int = 0) -> Path:
    """Write the page of a run called `name`, with `left` jobs still to be made; `advice` is what it opens with (none:
    it says so). Returns the path.
    """
    whole = make_frame(records)
    (view, table), *others = parts(whole)
    varying = _varying(table, view)
    lines = list(_lines(table, view, varying))
    headings = [*varying, *view.HEADINGS]
    told = {(line.shape, line.name): _words(line, headings) for line in lines}
    drawn = list(charts(table, told, {one.cases: one.choice for one in advice}))
    loader = Environment(
        loader=PackageLoader("artifex_bench.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
    )
    loader.filters |= {"script_json": _script_json, "packed": _packed}
    page = loader.get_template("page.html").render(
        name=name,
        kind=table.kind.iloc[0],
        title=view.TITLE,
        facts=[
            *_facts(records, table),
            *([f"unfinished: {left} jobs are still to be made"] if left else []),
            *(f"{len(rows)} cases more: table.md" for _, rows in others),
        ],
        advice=advice,
        tradeoffs=[chart for chart in drawn if not chart.key.startswith("scaling")],
        scalings=[chart for chart in drawn if chart.key.startswith("scaling")],
        headings=headings,
        example=lines[0].name.replace(",", ""),
        count=len(lines),
        only=lines[0].shape if len({line.shape for line in lines}) == 1 else None,
        notes=[(title, note) for title, _, notes in view.grouped(table) for note in notes],
        legend=" ".join(view.LEGEND.replace("`", "").split()),
        environment=_environment(records),
        data={
            "figures": {chart.key: _figures(chart) for chart in drawn},
            "lines": [asdict(line) for line in lines],
        },
        packed={
            "plotly": get_plotlyjs(),
            "datatables": (importlib.resources.files("itables") / "html" / "dt_bundle.js").read_text(encoding="utf-8"),
            "csv": text.csv(whole),
            "json": text.json_rows(whole),
        },
        styles=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _asset(name: str) -> str:
    return (importlib.resources.files("artifex_bench.report") / "assets" / name).read_text(encoding="utf-8")


def _script_json(value: Any) -> Markup:
    """JSON that can stand within a script element, whatever its strings hold."""
    return Markup(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))


def _plain(value: Any) -> Any:
    """Every text within the value `text.plain`; markup of ours is left as it is."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _packed(content: str) -> str:
    """Text as gzip in base 64, which a script element can hold; the same for the same text."""
    return base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()


def _figures(chart: Chart) -> list[dict[str, Any]]:
    return [{"label": label, **json.loads(figure.to_json(engine="json"))} for label, figure in chart.figures.items()]


def _varying(table: pd.DataFrame, view: Any) -> list[str]:
    """The axes that tell shapes apart: of one setting within each, of several in the run."""
    groups = [rows for _, rows in view.shapes(table)]
    axes = axis_names(load_kind(table.kind.iloc[0]).case_type)
    return [
        axis
        for axis in axes
        if table[axis].nunique(dropna=axis != "mesh") > 1
        and all(rows[axis].nunique(dropna=False) == 1 for rows in groups)
    ]


def _lines(table: pd.DataFrame, view: Any, varying: list[str]) -> Iterator[Line]:
    named = len(NAMED[table.kind.iloc[0]])
    for (title, rows), (_, lines, _) in zip(view.shapes(table), view.grouped(table), strict=True):
        status = dict(zip(names(rows), rows.status, strict=True))
        own = [(axis, rows[axis].iloc[0]) for axis in varying]
        fixed = [(setting(axis, value), None if axis == "mesh" else _order(value)) for axis, value in own]
        for line in lines:
            name = ", ".join(line[:named]).removesuffix(" *")
            cells = [
                (words, None if i in view.LEFT else _order(units.parse_amount(words))) for i, words in enumerate(line)
            ]
            yield Line(title, name, status[name] == "ok", fixed + cells)


def _order(value: Any) -> float | None:
    if isinstance(value, str):
        return None
    return float(value) if units.is_present(value) else LAST


def _words(line: Line, headings: Sequence[str]) -> str:
    """What a point of a chart says of its case: the cells that hold something, a line each."""
    told = zip(headings, line.cells, strict=True)
    figures = (f"{heading}: {escape(words)}" for heading, (words, _) in told if words not in (line.name, units.ABSENT))
    return "<br>".join([f"<b>{escape(line.name)}</b>", *figures])


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
    """Each setting in words; several where the run's records differ. Load is left out: it is never the same."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.environment.items():
            for name, one in value.items() if isinstance(value, Mapping) else ((key.replace("_", " "), value),):
                told = units.size(one) if key == "memory_bytes" else str(one)
                seen.setdefault(name.removesuffix(" bytes"), {})[told] = None
    return {name: "; ".join(values) for name, values in seen.items() if name != "load"}
