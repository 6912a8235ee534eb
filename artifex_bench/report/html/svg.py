"""Matplotlib figures as SVG elements of the page, with the marker of each case a part that the reader can act on."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
from markupsafe import Markup
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from artifex_bench.report.plots.style import COLOURS, INK, MUTED, RECOMMENDED, RULE, ignore_missing_glyphs
from artifex_bench.report.text import make_printable

MARK = re.compile(r"mark-(\d+)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_PLACES = {"d", "x", "y", "transform", "points", "width", "height"}
# Colour of a figure -> the property of page.css that replaces it, so that figures follow the page into dark mode.
PROPERTIES = {
    **{colour.lower(): f"--mark-{i}" for i, colour in enumerate(COLOURS)},
    "#ffffff": "--paper",
    "#000000": "--ink",
    "#dddddd": "--line",
    INK.lower(): "--ink",
    MUTED.lower(): "--muted",
    RULE.lower(): "--rule",
    RECOMMENDED.lower(): "--chosen",
    "#d55e00": "--over",
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_FONT = re.compile(r" ?font-family: [^;]*;?")  # the page's own font is used
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def embed_figure(figure: Any, prefix: str, title: str, describe: Callable[[int], str]) -> Markup:
    """Return a figure as an SVG element, and close the figure.

    The marker of each case becomes a button for the keyboard and for assistive technology: it has `data-case`, the
    index of the case's row, and a description as its `aria-label`.

    Args:
        figure: The figure; cases are drawn by `plot_mark`.
        prefix: What the ids within the element begin with, so that no two figures of a page share an id.
        title: The name of the figure for assistive technology.
        describe: Returns the description of a case from the index of its row.
    """
    root = _svg_tree(figure, prefix)
    names = _references(root)
    for element in root.iter():
        found = MARK.fullmatch(element.get("id", ""))
        if found:
            mark = {"class": "mark", "data-case": found[1], "tabindex": "0", "role": "button"}
            element.attrib.update(mark, id=f"{prefix}-{found[0]}")
            element.set("aria-label", make_printable(describe(int(found[1]))))
            element.set("aria-pressed", "false")
        elif element.get("id") in names:
            element.set("id", f"{prefix}-{element.attrib['id']}")
        else:
            element.attrib.pop("id", None)
        for name, value in list(element.attrib.items()):
            if name == "href":
                element.set(name, value.replace("#", f"#{prefix}-"))
            elif name == "clip-path":
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))
            elif name == "style":
                element.set(name, follow_theme(_FONT.sub("", value)))
            elif name in _PLACES:
                element.set(name, _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", value))
    box = root.attrib["viewBox"]
    root.attrib = {"viewBox": box, "class": "figure", "role": "group", "aria-label": make_printable(title)}
    return Markup(re.sub(r"\s*\n\s*", "\n", ElementTree.tostring(root, encoding="unicode")))


def follow_theme(style: str) -> str:
    """Return a style whose colours are properties of the page's style sheet; each colour stays as the fallback."""
    return _COLOUR.sub(lambda found: _follow_colour(found[0]), style)


def _follow_colour(colour: str) -> str:
    name = PROPERTIES.get(colour.lower())
    return f"var({name},{colour})" if name else colour


def _svg_tree(figure: Any, prefix: str) -> ElementTree.Element:
    """The figure as elements without namespaces; text stays text, so that the page's font is used."""
    file = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}), ignore_missing_glyphs():
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    plt.close(figure)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for parent in list(root.iter()):
        for child in list(parent):
            # the style element would apply to the whole page
            if child.tag == "metadata" or (parent.tag == "defs" and child.tag == "style"):
                parent.remove(child)
    return root


def _references(root: ElementTree.Element) -> set[str]:
    """The ids that elements refer to."""
    values = (value for element in root.iter() for value in (element.get("href"), element.get("clip-path")) if value)
    return {value.removeprefix("url(").removesuffix(")").removeprefix("#") for value in values}


def draw_legend_marker(style: Mapping[str, Any]) -> Markup:
    """Return the marker of a style as a small SVG element, for a legend in HTML."""
    marker = MarkerStyle(style["marker"])
    path = marker.get_path().transformed(marker.get_transform())
    look = follow_theme(f'style="fill: {style.get("markerfacecolor", style["color"])}; stroke: {style["color"]}"')
    return Markup(
        f'<svg class="marker" viewBox="-8 -8 16 16" aria-hidden="true"><path d="{" ".join(_path_data(path))}" {look} '
        'transform="scale(10 -10)"/></svg>'
    )


def _path_data(path: Any) -> Iterator[str]:
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    for vertices, code in path.iter_segments():
        points = "" if code == Path.CLOSEPOLY else " ".join(f"{value:.3f}" for value in vertices)
        yield f"{letters[code]}{points}"
