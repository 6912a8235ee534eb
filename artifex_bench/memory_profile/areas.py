"""The stacked areas of a timeline: arguments and outputs as bands, then the buffers of the temporaries. No JAX."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.record import Record
from artifex_bench.memory_profile import BUFFERS, LIVE
from artifex_bench.report.text import make_printable

FIXED, OTHER = "argument", "other"  # the pass of bands, and of merged buffers
Life = tuple[int, int, float]  # first moment, last moment, bytes


@dataclass(frozen=True)
class Area:
    """One area of the stack. The fields that describe it are empty if its buffers differ in them.

    Attributes:
        name: XLA's name of the buffer, or what several buffers are.
        scope: Path of named scopes.
        operation: The operation that computes it.
        phase: The pass that computes it; `FIXED` for arguments and outputs, `OTHER` for small buffers.
        shape: Type and shape.
        source: Source line.
        lives: When it occupies how many bytes; lives of one area may overlap, and their bytes add up.
        buffers: Number of buffers.
    """

    name: str
    scope: str
    operation: str
    phase: str
    shape: str
    source: str
    lives: tuple[Life, ...]
    buffers: int = 1

    @property
    def largest(self) -> float:
        """The bytes of its largest life."""
        return max(life[2] for life in self.lives)


def has_areas(record: Record) -> bool:
    """Return whether a record has the lives of its buffers. Older profiles have only their sum."""
    live = record.get(LIVE)
    return live is not None and bool(live.values) and "buffers" in live.detail


def describe_origin(records: Sequence[Record]) -> list[str]:
    """Return where profiles come from in words: device, JAX version, date and commit, as far as records have them."""
    facts: dict[str, None] = {}
    for record in records:
        environment = record.environment
        found = {
            "{}": environment.get("device"),
            "JAX {}": environment.get("versions", {}).get("jax"),
            "{:.10}": record.started_at,
            "commit {}": environment.get("commit"),
        }
        facts |= {make_printable(words.format(value)): None for words, value in found.items() if value}
    return list(facts)


def list_areas(record: Record) -> list[Area]:
    """Return the areas of a record from the bottom of the stack to its top.

    Bands come first, the largest at the bottom. Buffers follow in the order in which they become alive. At every moment
    all areas together have the record's live bytes.
    """
    live = record.get(LIVE)
    assert live is not None
    last = len(live.values) - 1
    bands = [
        Area(name, "", "", FIXED, "", "", ((0, last, size),), count)
        for name, (size, count) in sorted(_size_bands(record).items(), key=lambda band: -band[1][0])
    ]
    buffers = [
        Area(**{**buffer, "lives": tuple(map(tuple, buffer["lives"]))})
        for buffer in live.detail["buffers"]
        if buffer["lives"]
    ]
    return bands + sorted(buffers, key=lambda area: area.lives[0][:2])


def _size_bands(record: Record) -> dict[str, tuple[float, int]]:
    """Return {tree: (bytes, arrays)} of what is alive throughout: each tree of arguments, and the outputs."""
    live, buffers = record.get(LIVE), record.get(BUFFERS)
    assert live is not None
    bands: dict[str, tuple[float, int]] = {}
    for row in buffers.detail.get("rows", ()) if buffers is not None else ():
        if row["phase"] == FIXED and not row["operation"].startswith("copy of "):
            name = row["operation"].partition(".")[0]
            size, count = bands.get(name, (0, 0))
            bands[name] = size + row["bytes"], count + 1
    throughout = live.detail["throughout_bytes"]
    outputs = throughout - sum(size for size, _ in bands.values())
    if outputs < 0:  # the rows are not those of this program
        return {"arguments and outputs": (throughout, 1)}
    return bands | ({"outputs": (outputs, 1)} if outputs else {})


def merge_small(areas: Iterable[Area], least: float, most: int) -> list[Area]:
    """Merge the buffers of fewer than `least` bytes, and all but the `most` largest, into one area at the bottom."""
    bands, buffers = _split_bands(areas)
    kept = {id(area) for area in sorted(buffers, key=lambda area: -area.largest)[:most] if area.largest >= least}
    small = [area for area in buffers if id(area) not in kept]
    merged = [_merge_areas(small, f"{len(small)} smaller buffers", phase=OTHER)] if small else []
    return [*bands, *merged, *(area for area in buffers if id(area) in kept)]


def merge_kinds(areas: Iterable[Area], kind: Callable[[Area], Hashable]) -> list[Area]:
    """Merge the buffers of one kind into an area, in the order in which their first buffers become alive."""
    bands, buffers = _split_bands(areas)
    kinds: dict[Hashable, list[Area]] = {}
    for area in buffers:
        kinds.setdefault(kind(area), []).append(area)
    return [*bands, *(_merge_areas(group, group[0].name if len(group) == 1 else "") for group in kinds.values())]


def find_tree(operation: str) -> str:
    """Return ``copy of params`` of ``copy of params.layers.kernel``, and other operations as they are."""
    return operation.partition(".")[0]


def _split_bands(areas: Iterable[Area]) -> tuple[list[Area], list[Area]]:
    areas = list(areas)
    count = next((i for i, area in enumerate(areas) if area.phase != FIXED or area.operation), len(areas))
    return areas[:count], areas[count:]


def _merge_areas(group: Sequence[Area], name: str, **fields: str) -> Area:
    """Return one area for several: with the fields that all of them share, and the sum of their bytes."""
    shared: dict[str, Any] = {}
    for field in ("scope", "operation", "phase", "shape", "source"):
        values = {getattr(area, field) for area in group}
        if field == "operation" and len(values) > 1:  # "copy of params.layers.kernel", one for each parameter
            values = set(map(find_tree, values))
        shared[field] = values.pop() if len(values) == 1 else ""
    lives = tuple(add_lives(life for area in group for life in area.lives))
    return Area(**{"name": name, **shared, **fields}, lives=lives, buffers=sum(area.buffers for area in group))


def add_lives(lives: Iterable[Life]) -> Iterator[Life]:
    """Yield lives that do not overlap, with the bytes that the given ones have together."""
    changes: dict[int, float] = {}
    for first, last, size in lives:
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    total: float = 0
    for moment, following in itertools.pairwise(sorted(changes)):
        total += changes[moment]
        if total:
            yield moment, following - 1, total
