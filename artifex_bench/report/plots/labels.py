"""Names beside points and lines, where they cover no marker, line or other name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from artifex_bench.report.plots.style import INK, MUTED, RECOMMENDED, ignore_missing_glyphs
from artifex_bench.report.text import shorten_label

PIECE = 8  # pixels: lines are compared with names in pieces of this length, because the box of a diagonal is too large
# without a patch, matplotlib does not search for the edge of the text, which takes most of the time of a line
JOINT: dict[str, Any] = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "patchA": None}
LONGEST_END = 32  # characters of a name at the end of a line, beside the panel
REACHES = (20, 32, 46, 62)  # points from a marker to a name that is joined to it by a line


@dataclass(frozen=True)
class Label:
    """A name to write beside a point.

    Attributes:
        spot: The point, in the coordinates of the data.
        text: The name.
        strong: Whether it is written bold, in the colour of a recommendation.
    """

    spot: tuple[float, float]
    text: str
    strong: bool = False


@dataclass(frozen=True)
class _Place:
    """Where a name could be: offset in points, alignment, and whether a line joins it to its point."""

    x: float
    y: float
    horizontal: str
    vertical: str
    joined: bool


def _places(gap: float) -> Iterator[_Place]:
    """Yield the places around a point, the nearest first."""
    for x, y in ((1.0, -1.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)):
        yield _Place(gap * x, gap * y, "left" if x > 0 else "right", "bottom" if y > 0 else "top", False)
    for x in (1.0, -1.0):
        yield _Place(1.3 * gap * x, 0, "left" if x > 0 else "right", "center", False)
    for y in (1.0, -1.0):
        yield _Place(0, 1.2 * gap * y, "center", "bottom" if y > 0 else "top", False)
    for reach, step in itertools.product(REACHES, range(12)):
        x, y = math.cos(step * math.pi / 6), math.sin(step * math.pi / 6)
        horizontal = "left" if x > 0.3 else "right" if x < -0.3 else "center"
        vertical = "bottom" if y > 0.3 else "top" if y < -0.3 else "center"
        yield _Place(reach * x, reach * y, horizontal, vertical, True)


def place_labels(panel: Any, labels: Sequence[Label], size: float = 9) -> list[Label]:
    """Write each name where it covers nothing: beside its point, or further away and joined to it by a line.

    Args:
        panel: Axes of a figure that was drawn, so that its layout is final. Markers were drawn by `plot_mark`.
        labels: The names, in order of importance.
        size: Font size in points.

    Returns:
        The labels that have no such place. They are not written.
    """
    scale = panel.figure.dpi / 72
    frame = panel.get_window_extent()
    marks = list(_mark_boxes(panel, 4 * scale))
    lines = [*_line_boxes(panel), *(text.get_window_extent().extents for text in panel.texts)]
    missing = []
    for label in labels:
        spot = panel.transData.transform(label.spot)
        others = [box for box in marks if not _overlaps(np.concatenate([spot, spot]), [box])]
        look = {"color": RECOMMENDED, "weight": "bold"} if label.strong else {"color": INK}
        text = panel.annotate(
            shorten_label(label.text), label.spot, textcoords="offset points", xytext=(0, 0), fontsize=size, **look
        )
        text.set_in_layout(False)
        with ignore_missing_glyphs():
            extent = text.get_window_extent()
        for place in _places(10 if label.strong else 7):
            box = _box_at(spot, place, (extent.width, extent.height), scale)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
            # nearer to its own marker than to another one
            clear = box + (0 if place.joined else 3 * scale) * np.array([-1, -1, 1, 1])
            if not inside or _overlaps(clear, others) or _overlaps(box, lines):
                continue
            joint = list(_pieces(spot, spot + scale * np.array([place.x, place.y]))) if place.joined else []
            # the first pieces lie on the point's own marker
            if any(_overlaps(piece, marks) for piece in joint[int(8 * scale / PIECE) + 1 :]):
                continue
            break
        else:
            text.remove()
            missing.append(label)
            continue
        text.remove()
        arrow = {**JOINT, "shrinkA": 0, "shrinkB": 4}
        panel.annotate(
            shorten_label(label.text),
            label.spot,
            xytext=(place.x, place.y),
            textcoords="offset points",
            ha=place.horizontal,
            va=place.vertical,
            fontsize=size,
            annotation_clip=False,
            arrowprops={**arrow, "relpos": _joint(place)} if place.joined else None,
            **look,
        ).set_in_layout(False)
        marks.append(box)
        lines += joint
    return missing


def label_line_ends(panel: Any, ends: Sequence[Label], size: float = 8) -> list[Label]:
    """Write the names of lines in a column at the right of a panel, each joined to the last point of its line.

    Args:
        panel: Axes of a figure that was drawn, so that their height is final.
        ends: The name of each line at its last point.
        size: Font size in points.

    Returns:
        The labels that are not written in full: those longer than `LONGEST_END`, and all if the panel is not high
        enough.
    """
    frame = panel.get_window_extent()
    step = 1.25 * size * panel.figure.dpi / 72 / frame.height  # shares of the height
    if step * len(ends) > 1:
        return list(ends)
    places = {label: panel.transAxes.inverted().transform(panel.transData.transform(label.spot))[1] for label in ends}
    heights: list[float] = []
    for label in sorted(ends, key=lambda label: float(places[label])):
        heights.append(max(places[label], heights[-1] + step if heights else 0.5 * step))
    above = 1 + 0.5 * step
    for i in reversed(range(len(heights))):
        heights[i] = above = min(heights[i], above - step)
    for label, height in zip(sorted(ends, key=lambda label: float(places[label])), heights, strict=True):
        panel.annotate(
            shorten_label(label.text, LONGEST_END),
            label.spot,
            xytext=(1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=INK,
            annotation_clip=False,
            arrowprops={**JOINT, "shrinkA": 1, "relpos": (0, 0.5)},
        )
    return [label for label in ends if len(label.text) > LONGEST_END]


def _joint(place: _Place) -> tuple[float, float]:
    """Where the line meets the name's box, as shares of its width and height."""
    x = {"left": 0.0, "center": 0.5, "right": 1.0}[place.horizontal]
    return x, {"bottom": 0.0, "center": 0.5, "top": 1.0}[place.vertical]


def _box_at(spot: Any, place: _Place, size: tuple[float, float], scale: float) -> Any:
    """The box (left, bottom, right, top) in pixels of a name at a place beside a spot."""
    x, y = _joint(place)
    left = spot[0] + place.x * scale - x * size[0]
    bottom = spot[1] + place.y * scale - y * size[1]
    return np.array([left, bottom, left + size[0], bottom + size[1]])


def _overlaps(box: Any, others: Sequence[Any]) -> bool:
    if not others:
        return False
    left, bottom, right, top = np.array(others).T
    return bool(((box[0] < right) & (left < box[2]) & (box[1] < top) & (bottom < box[3])).any())


def _pieces(start: Any, end: Any) -> Iterator[Any]:
    """The boxes of a straight line, in pieces."""
    count = max(1, math.ceil(max(abs(end - start)) / PIECE))
    for one, other in itertools.pairwise(np.linspace(start, end, count + 1)):
        yield np.concatenate([np.minimum(one, other) - 1, np.maximum(one, other) + 1])


def _mark_boxes(panel: Any, reach: float) -> Iterator[Any]:
    """The boxes of the markers of cases."""
    for line in panel.get_lines():
        if line.get_gid():
            x, y = panel.transData.transform(line.get_xydata()[0])
            yield np.array([x - reach, y - reach, x + reach, y + reach])


def _line_boxes(panel: Any) -> Iterator[Any]:
    """The boxes of the pieces of lines and error bars."""
    drawn = [(line.get_transform(), line.get_path().vertices) for line in panel.get_lines() if not line.get_gid()]
    drawn += [(bars.get_transform(), part) for bars in panel.collections for part in bars.get_segments()]
    for transform, path in drawn:
        for start, end in itertools.pairwise(transform.transform(path)):
            if np.isfinite([start, end]).all():
                yield from _pieces(start, end)
