"""Choice: the methods of every choice of how layers are rematerialized; and Part, the layers of one kind under one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from artifex_bench.compat import PreventCse
from artifex_bench.remat.planner.graph import Saved
from artifex_bench.remat.planner.inlined_program import Span
from artifex_bench.remat.planner.layer_kinds import LayerKind
from artifex_bench.remat.planner.residual_names import Function, JvpObserver
from artifex_bench.remat.planner.scan_blocks import Step


class Added(NamedTuple):
    """Estimate of what layers add to a training step: bytes to its peak, seconds and FLOPs to its time."""

    bytes: float
    seconds: float
    flops: float


@dataclass(frozen=True)
class Part:
    """The layers of one kind that are under a choice.

    Attributes:
        places: Their numbers among the layers under the choice, from 0.
        count: Number of layers under the choice, of any kind.
        choice: The choice.
    """

    places: tuple[int, ...]
    count: int
    choice: Choice


class Choice:
    """How some layers are rematerialized. The defaults are for a choice that treats each layer by itself."""

    in_blocks = False  # whether consecutive layers are taken together

    def wrap(self, layer: Function, prevent_cse: PreventCse, observe: JvpObserver) -> Function:
        """Return the layer as it is run under the choice."""
        return layer

    def scan(
        self, step: Step, carry: list[Any], xs: list[Any], length: int, reverse: bool, unroll: int
    ) -> tuple[list[Any], list[Any]]:
        """Scan layers, each already wrapped."""
        return jax.lax.scan(step, carry, xs, length, reverse, unroll)

    def split_by_layer(self, places: Sequence[int]) -> list[Choice]:
        """Return the choice of each layer, by the layers' numbers among those under the choice."""
        return [self] * len(places)

    def find_spans(self, positions: Sequence[int]) -> list[Span]:
        """Return the spans of equations to checkpoint as one, for calls at those positions of a program."""
        return []

    def find_saved(self, kind: LayerKind) -> Saved:
        """Return the values that a layer of that kind saves."""
        raise NotImplementedError

    def find_saved_by_last(self, kind: LayerKind, places: Sequence[int]) -> Saved:
        """Return the values that the last of those layers saves."""
        return self.find_saved(kind)

    def find_recomputed(self, kind: LayerKind) -> set[int]:
        """Return the operations that the backward pass of a layer of that kind runs again."""
        return kind.graph.find_recomputed(self.find_saved(kind))

    def estimate_layers(self, kind: LayerKind, count: int) -> Added:
        """Estimate what `count` layers of that kind add, each by itself."""
        graph, saved = kind.graph, self.find_saved(kind)
        return Added(
            count * graph.count_bytes(saved), count * graph.estimate_seconds(saved), count * graph.count_flops(saved)
        )

    def estimate(self, kind: LayerKind, part: Part) -> Added:
        """Estimate what the layers of a part add."""
        return self.estimate_layers(kind, len(part.places))

    def split_alike(self, part: Part) -> list[Part]:
        """Split a part so that the layers of each are treated alike."""
        return [part]

    def describe(self) -> str:
        """Describe the choice in a few words."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the choice as plain JSON values, which `choice_from_json` reads."""
        raise NotImplementedError


Groups = tuple[tuple[int, Choice], ...]  # (number of layers, their choice), in the order in which the layers run


def find_parts(kind: LayerKind, groups: Groups) -> Iterator[Part]:
    """Yield the layers of a kind under each choice, where there are some."""
    start = 0
    for count, choice in groups:
        places = tuple(layer - start for layer in kind.layers if start <= layer < start + count)
        start += count
        if places:
            yield Part(places, count, choice)
