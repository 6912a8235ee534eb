"""What a plan adds to a step, as estimated from the graphs of its layers: peak, bytes saved, seconds, FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifex_bench.remat.planner.choice import Saved
from artifex_bench.remat.planner.kinds import Kind, Part
from artifex_bench.remat.planner.stacks import AGAIN, Choice, Groups, Plain, apart
from artifex_bench.remat.strategies import Plan


@dataclass(frozen=True)
class Candidate:
    """A plan, with what it adds as estimated: bytes to the peak (but for a constant), seconds and FLOPs to a step.
    `saved`: bytes that it saves in all, which need not be there at once where there are several kinds of layers.
    """

    label: str
    groups: Mapping[str, Groups]
    bytes: float
    saved: float
    seconds: float
    flops: float

    @property
    def in_blocks(self) -> bool:
        """Whether layers are taken together somewhere."""
        return any(isinstance(choice, Plan) for groups in self.groups.values() for _, choice in groups)


def candidate(label: str, kinds: Sequence[Kind], groups: Mapping[str, Groups]) -> Candidate:
    """With its estimates, from each kind's graph. A scan that is split copies its slices, and their gradients."""
    sizes, seconds, flops = [], 0.0, 0.0
    for kind in kinds:
        chosen = groups[kind.stack.name]
        added = [sum(of) for of in zip(*(estimated(kind, part) for part in kind.under(chosen)), strict=True)]
        copied = kind.stack.slice_bytes if len(chosen) > 1 else 0
        sizes.append(added[0] + copied)
        seconds, flops = seconds + added[1], flops + added[2]
    return Candidate(label, groups, _peak(kinds, groups, sizes), sum(sizes), seconds, flops)


def _peak(kinds: Sequence[Kind], groups: Mapping[str, Groups], sizes: Sequence[float]) -> float:
    """Of what each kind holds. Of several kinds the most there is when the last layer of one is differentiated: what
    this layer's backward pass reads, and what the layers before it hold.
    """
    if len(kinds) == 1:
        return sizes[0]
    peaks = []
    for kind, size in zip(kinds, sizes, strict=True):
        others = ((other, held) for other, held in zip(kinds, sizes, strict=True) if other is not kind)
        before = sum(kind.share_before(other) * held for other, held in others)
        *_, part = kind.under(groups[kind.stack.name])
        last = _of_last(kind, part)
        peaks.append(before + size - kind.graph.bytes(last) + kind.graph.bytes(last | kind.graph.core()))
    return max(peaks)


def _of_last(kind: Kind, part: Part) -> Saved:
    """What the last of those layers saves. A block's last layer saves nothing for itself."""
    if isinstance(part.choice, Plan) and part.choice.group:
        return frozenset()
    return kind.saved(apart(part.choice, part.places)[-1])


def estimated(kind: Kind, part: Part) -> tuple[float, float, float]:
    """(bytes, seconds, FLOPs) of those layers under their choice."""
    if isinstance(part.choice, Plan):
        return _blocks(kind, part, part.choice)
    return _layers(kind, len(part.places), part.choice)


def _layers(kind: Kind, count: int, choice: Choice) -> tuple[float, float, float]:
    graph, saved = kind.graph, kind.saved(choice)
    if isinstance(choice, Plain):
        return count * graph.bytes(saved), count * sum(graph.values[v].save_seconds for v in saved), 0.0
    return count * graph.bytes(saved), count * graph.seconds(saved), count * graph.flops(saved)


def _blocks(kind: Kind, part: Part, plan: Plan) -> tuple[float, float, float]:
    """The same of layers in blocks. Of a block only its input is kept, and all but its last layer are run again; then
    either all that its layers hold is there at once, or only their inputs, and each layer is run once more (Chen 2016).
    """
    again = sum(plan.layers[place % plan.period] for place in part.places)
    both = zip(_layers(kind, again, AGAIN), _layers(kind, len(part.places) - again, Plain()), strict=True)
    layers = [one + other for one, other in both]
    if not plan.group:
        return layers[0], layers[1], layers[2]
    graph, carried = kind.graph, kind.stack.carried_bytes
    blocks = sum(place % plan.period == plan.period - 1 or place == part.count - 1 for place in part.places)
    whole, alive = len(part.places) - blocks, carried if again else graph.bytes(graph.core())
    last = _layers(kind, len(part.places) if again else blocks, AGAIN)
    size = (plan.period - 1) * alive - whole * carried
    return size, whole * graph.forward.seconds + last[1], whole * graph.forward.flops + last[2]
