"""The memory timeline as a page that opens from disk: one HTML file, which makes no network request. No JAX."""

from __future__ import annotations

import importlib.resources
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from artifex_bench.core.case import RematCase
from artifex_bench.core.case_names import case_label
from artifex_bench.core.record import Record
from artifex_bench.memory_profile import LIVE
from artifex_bench.memory_profile.areas import describe_origin, has_areas, list_areas, merge_small
from artifex_bench.report.text import make_printable

# A buffer of less than this share of the largest stack is thinner than a quarter of a pixel of the page. The page of a
# transformer with 24 unrolled layers weighs 190 KB for two strategies.
LEAST_SHARE, MOST = 1 / 2000, 2000


def write_timeline_page(records: Sequence[Record], path: Path) -> list[Path]:
    """Write the page of one case, or of two on common axes.

    Returns:
        The path of the file; empty if a record has no lives of buffers.
    """
    if not records or not all(map(has_areas, records)):
        return []
    loader = PackageLoader("artifex_bench.memory_profile", "assets")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("timeline.html")
    cases = [record.case for record in records]
    page = template.render(
        title=make_printable(" and ".join(case.strategy for case in cases if isinstance(case, RematCase))),
        cases=[make_printable(case_label(case)) for case in cases],
        facts=describe_origin(records),
        # `<` would let a name end the script element
        data=Markup(json.dumps(_pack_records(records), separators=(",", ":")).replace("<", "\\u003c")),
        styles=Markup(_read_asset("report.html", "page.css") + _read_asset("memory_profile", "timeline.css")),
        script=Markup(
            _read_asset("memory_profile", "timeline.js") + _read_asset("memory_profile", "timeline_actions.js")
        ),
    )
    path.write_text(page, encoding="utf-8")
    return [path]


def _read_asset(package: str, name: str) -> str:
    return (importlib.resources.files(f"artifex_bench.{package}") / "assets" / name).read_text(encoding="utf-8")


def _pack_records(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the script draws. Texts are numbers of entries in one list, because most of them repeat."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(make_printable(text), len(texts))

    cases = []
    for record in records:
        live = record.get(LIVE)
        assert live is not None and isinstance(record.case, RematCase)
        areas = [
            [
                *map(number, (area.name, area.scope, area.operation, area.phase, area.shape, area.source)),
                area.buffers,
                [_shorten_number(value) for life in area.lives for value in life],
            ]
            for area in merge_small(list_areas(record), LEAST_SHARE * max(live.values), MOST)
        ]
        cases.append(
            {
                "name": make_printable(record.case.strategy),
                "count": len(live.values),
                "moment": live.detail["moment"],
                "peak": live.detail["peak_bytes"],
                "phases": [[number(name), len(list(run))] for name, run in itertools.groupby(live.detail["phases"])],
                "areas": areas,
            }
        )
    return {"texts": list(texts), "cases": cases}


def _shorten_number(value: float) -> float:
    """Return a whole number without a decimal point."""
    return value if value % 1 else int(value)
