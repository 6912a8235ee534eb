"""What a backward pass reads and what it takes to compute it again: the graph in which a plan is chosen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Of computing something again."""

    seconds: float = 0.0
    flops: float = 0.0


def never(eqn: Any, size: float) -> float | None:
    """Of `Rates.offloading`: nothing is offloaded."""
    return None


@dataclass(frozen=True)
class Rates:
    """What a target is assumed to do: `cost(eqn)` of an equation, whether it is `fusible` into those that read it,
    `saving(eqn, bytes)` seconds to save its result, and `offloading(eqn, bytes)` to have it on the host instead (None:
    it cannot be, or is not worth a try), where `to_host` bytes go in a second. `unknown_dtype(eqn)` is the dtype of a
    product whose rate is not known, so that its seconds are no estimate; else None.
    """

    cost: Callable[[Any], Cost]
    saving: Callable[[Any, float], float]
    fusible: Callable[[Any], bool] = lambda eqn: True
    offloading: Callable[[Any, float], float | None] = never
    to_host: float = 0.0
    unknown_dtype: Callable[[Any], str | None] = lambda eqn: None


@dataclass(frozen=True)
class Value:
    """An intermediate: the operation that gives it, its bytes, seconds to write and read it again.

    `label` is the user's own name for it (`checkpoint_name`), else its operation; `line` is where it is computed.
    A value with `of` is a copy of that value in the host's memory, of `on_host` bytes: it stands in for it. One that is
    `free` is kept in any case.
    """

    name: str
    op: int
    bytes: float
    save_seconds: float
    label: str = ""
    shape: str = ""
    line: str = ""
    savable: bool = True
    of: int | None = None
    on_host: float = 0.0
    free: bool = False

    @property
    def added(self) -> float:
        """Bytes of the device that it takes to save it."""
        return 0.0 if self.free else self.bytes


@dataclass(frozen=True)
class Step:
    """An operation: cost of running it again, and the values it reads (inputs of the layer apart: they are there)."""

    cost: Cost
    ins: tuple[int, ...]
    fusible: bool = True


@dataclass(frozen=True)
class Moment:
    """A time at which the peak may be: `always` bytes are there whatever is chosen, and of each value that is saved
    `shares[v]` of its bytes.
    """

    always: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Graph:
    """`needed` are the values that the backward pass reads. Values are numbered, operations too, in order.

    `forward` is the cost of all that the layer computes, with what the backward pass does not want. Without `moments`
    all that is saved is taken to be there at the peak. Copies on the host are `host_limit` bytes together at most.
    """

    steps: tuple[Step, ...]
    values: tuple[Value, ...]
    needed: tuple[int, ...]
    forward: Cost = Cost()
    moments: tuple[Moment, ...] = ()
    host_limit: float = 0.0

    def again(self, saved: Collection[int]) -> set[int]:
        """The operations to run again when those values are saved."""
        saved = {self.original(v) for v in saved}
        ops: set[int] = set()
        wanted = [v for v in self.needed if v not in saved]
        while wanted:
            op = self.values[wanted.pop()].op
            if op not in ops:
                ops.add(op)
                wanted += (v for v in self.steps[op].ins if v not in saved)
        return ops

    def used(self, saved: Collection[int]) -> set[int]:
        """The saved values that spare something: the others would never be read."""
        read = {v for op in self.again(saved) for v in self.steps[op].ins} | set(self.needed)
        return {v for v in saved if self.original(v) in read}

    def original(self, value: int) -> int:
        """The value itself, or what it is a copy of."""
        of = self.values[value].of
        return value if of is None else of

    def on_host(self, saved: Collection[int]) -> float:
        """Bytes of the copies among them."""
        return sum(self.values[v].on_host for v in saved)

    def bytes(self, saved: Collection[int]) -> float:
        """Of the device, to save those values."""
        return sum(self.values[v].added for v in saved)

    def peak(self, saved: Collection[int]) -> float:
        """Bytes at the moment at which there are most."""
        if not self.moments:
            return self.bytes(saved)
        return max(m.always + sum(m.shares[v] * self.values[v].added for v in saved) for m in self.moments)

    def core(self) -> set[int]:
        """What the backward pass reads, but for what XLA derives within a fusion from what it reads besides."""
        needed = set(self.needed)
        steps = {v: self.steps[self.values[v].op] for v in needed}
        return {v for v, step in steps.items() if not (step.fusible and step.ins and needed.issuperset(step.ins))}

    def seconds(self, saved: Collection[int]) -> float:
        """Of what is run again, and of writing and reading what is saved."""
        again = sum(self.steps[op].cost.seconds for op in self.again(saved))
        return again + sum(self.values[v].save_seconds for v in saved)

    def flops(self, saved: Collection[int]) -> float:
        """Computed again."""
        return sum(self.steps[op].cost.flops for op in self.again(saved))


def joined(graphs: Sequence[Graph], counts: Sequence[int], before: Sequence[Sequence[float]] = ()) -> Graph:
    """One graph of several kinds of layers, each as many times as it is there: one decision for all of a kind.

    `before[i][j]` is the share of kind j that has run when the last layer of kind i begins. That is when the backward
    pass of kind i begins too: what these layers saved is there, and what this one's backward pass reads, saved or not.
    """
    steps: list[Step] = []
    values: list[Value] = []
    needed: list[int] = []
    for graph, count in zip(graphs, counts, strict=True):
        start, ops_before = len(values), len(steps)
        for step in graph.steps:
            cost = Cost(step.cost.seconds * count, step.cost.flops * count)
            steps.append(Step(cost, tuple(v + start for v in step.ins), step.fusible))
        values += (
            replace(
                value,
                op=value.op + ops_before,
                bytes=value.bytes * count,
                save_seconds=value.save_seconds * count,
                of=None if value.of is None else value.of + start,
                on_host=value.on_host * count,
            )
            for value in graph.values
        )
        needed += (v + start for v in graph.needed)
    moments = []
    for i, shares in enumerate(before):
        core = graphs[i].core()
        each: list[float] = []
        for j, graph in enumerate(graphs):
            for v in range(len(graph.values)):
                mine = counts[i] - 1 if v in core else counts[i]  # the last layer's core is there, saved or not
                each.append(mine / counts[i] if i == j else shares[j])
        moments.append(Moment(graphs[i].bytes(core), tuple(each)))
    limit = sum(graph.host_limit * count for graph, count in zip(graphs, counts, strict=True))
    return Graph(tuple(steps), tuple(values), tuple(needed), moments=tuple(moments), host_limit=limit)
