"""Candidate: choices for every layer, with an estimate of what they add to a step: peak, residuals, seconds, FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifex_bench.remat.planner.layer_choice import Groups, find_parts
from artifex_bench.remat.planner.layer_kinds import LayerKind


@dataclass(frozen=True)
class Candidate:
    """Choices for every layer, with estimates of what they add to a step.

    Attributes:
        label: ``plan``, ``mixture``, or the strategy's name.
        groups: The choices of each stack.
        bytes: Bytes added to the peak, up to a constant that all candidates share.
        saved: Bytes of all residuals together. With several kinds of layers they are not all in memory at once.
        seconds: Seconds added to a step.
        flops: FLOPs of recomputation in a step.
    """

    label: str
    groups: Mapping[str, Groups]
    bytes: float
    saved: float
    seconds: float
    flops: float

    @property
    def in_blocks(self) -> bool:
        """Whether consecutive layers are taken together somewhere."""
        return any(choice.in_blocks for groups in self.groups.values() for _, choice in groups)


def estimate_candidate(label: str, kinds: Sequence[LayerKind], groups: Mapping[str, Groups]) -> Candidate:
    """Estimate what choices add to a step.

    Args:
        label: The candidate's label.
        kinds: All kinds of layers.
        groups: The choices of each stack.

    Returns:
        The candidate. A scan that is split copies its slices; those bytes are included.
    """
    sizes, seconds, flops = [], 0.0, 0.0
    for kind in kinds:
        chosen = groups[kind.stack.name]
        parts = (part.choice.estimate(kind, part) for part in find_parts(kind, chosen))
        added = [sum(column) for column in zip(*parts, strict=True)]
        copied = kind.stack.slice_bytes if len(chosen) > 1 else 0
        sizes.append(added[0] + copied)
        seconds, flops = seconds + added[1], flops + added[2]
    return Candidate(label, groups, _estimate_peak(kinds, groups, sizes), sum(sizes), seconds, flops)


def _estimate_peak(kinds: Sequence[LayerKind], groups: Mapping[str, Groups], sizes: Sequence[float]) -> float:
    """Estimate the bytes added to the peak, from the residuals of each kind.

    With several kinds the peak is when the last layer of one of them is differentiated. In memory are then what its
    backward pass reads, and the residuals of the layers before it.
    """
    if len(kinds) == 1:
        return sizes[0]
    peaks = []
    for kind, size in zip(kinds, sizes, strict=True):
        others = ((other, held) for other, held in zip(kinds, sizes, strict=True) if other is not kind)
        before = sum(kind.share_before(other) * held for other, held in others)
        *_, part = find_parts(kind, groups[kind.stack.name])
        last = part.choice.find_saved_by_last(kind, part.places)
        graph = kind.graph
        peaks.append(before + size - graph.count_bytes(last) + graph.count_bytes(last | graph.find_materialized()))
    return max(peaks)
