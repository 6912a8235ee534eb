"""Templates of pages, with the style sheet and the scripts inside: a page is one file that requests nothing."""

from __future__ import annotations

import base64
import gzip
import importlib.resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from artifex_bench.report.text import make_printable


def write_template(
    template: str, path: Path, scripts: tuple[str, ...] = ("page.js", "ready.js"), **values: Any
) -> Path:
    """Write a page from a template in `assets`.

    Args:
        template: The name of its file.
        path: The file to write.
        scripts: The scripts in the page, in order.
        **values: What the template shows.

    Returns:
        The path.
    """
    loader = Environment(
        loader=PackageLoader("artifex_bench.report.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
    )
    loader.filters["packed"] = _pack
    page = loader.get_template(template).render(
        styles=Markup(_read_asset("page.css")), script=Markup("\n".join(map(_read_asset, scripts))), **values
    )
    path.write_text(page, encoding="utf-8")
    return path


def _read_asset(name: str) -> str:
    return (importlib.resources.files("artifex_bench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """`make_printable` of a text; our own markup, and values of other types, as they are."""
    return make_printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _pack(content: str) -> str:
    """Text as gzip in base 64, which a script element can hold; equal texts give equal results."""
    return base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()
