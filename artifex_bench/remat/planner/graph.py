"""Graph: the intermediates that a layer's backward pass can read, and the operations that recompute them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

Saved = frozenset[int]  # indices into `Graph.values`


@dataclass(frozen=True)
class Cost:
    """Seconds and FLOPs of one computation."""

    seconds: float = 0.0
    flops: float = 0.0


def never_offload(eqn: Any, size: float) -> float | None:
    """Return None: a rule for `Rates.offloading` under which nothing is offloaded."""
    return None


@dataclass(frozen=True)
class Rates:
    """Rules that give the costs of a target.

    Attributes:
        cost: ``cost(eqn)``: cost of computing an equation once.
        saving: ``saving(eqn, bytes)``: seconds to write the equation's result and to read it again.
        fusible: ``fusible(eqn)``: whether XLA may recompute the equation inside the fusion that reads it.
        offloading: ``offloading(eqn, bytes)``: seconds to keep the result in host memory instead, or None if it cannot
            be offloaded.
        to_host: Bytes per second between the device and the host; 0 if there is no offloading.
        unknown_dtype: ``unknown_dtype(eqn)``: dtype of a matrix product whose rate is unknown, else None.
    """

    cost: Callable[[Any], Cost]
    saving: Callable[[Any, float], float]
    fusible: Callable[[Any], bool] = lambda eqn: True
    offloading: Callable[[Any, float], float | None] = never_offload
    to_host: float = 0.0
    unknown_dtype: Callable[[Any], str | None] = lambda eqn: None


@dataclass(frozen=True)
class Value:
    """An intermediate of one layer, or a copy of one in host memory.

    Attributes:
        name: The name by which `jax.checkpoint` saves it.
        operation: Index of the operation that computes it.
        bytes: Its size on the device; 0 for a copy in host memory.
        save_seconds: Seconds to write it and to read it again.
        label: The user's own `checkpoint_name`, else the primitive.
        shape: Dtype and shape, such as ``f32[6,8]``.
        line: Source file, line and function.
        savable: Whether JAX can save it.
        copy_of: Index of the value that this one is a copy of, or None.
        host_bytes: Size of a copy in host memory.
        always_saved: Whether it is kept in any case, as another layer's input.
    """

    name: str
    operation: int
    bytes: float
    save_seconds: float
    label: str = ""
    shape: str = ""
    line: str = ""
    savable: bool = True
    copy_of: int | None = None
    host_bytes: float = 0.0
    always_saved: bool = False

    @property
    def added_bytes(self) -> float:
        """Bytes of device memory that saving it adds."""
        return 0.0 if self.always_saved else self.bytes


@dataclass(frozen=True)
class Operation:
    """An operation: the cost of running it again, and the values it reads.

    The layer's own inputs are not among `inputs`: they are in memory in any case.
    """

    cost: Cost
    inputs: tuple[int, ...]
    fusible: bool = True


@dataclass(frozen=True)
class Moment:
    """A moment at which the peak may be.

    Attributes:
        always: Bytes in memory whatever is saved.
        shares: For each value, the share of its bytes in memory if it is saved.
    """

    always: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Graph:
    """The graph in which the solver chooses residuals.

    Attributes:
        operations: Operations in the order of the program.
        values: Intermediates in the order of the program, then copies in host memory.
        needed: Indices of the values that the backward pass reads.
        forward: Cost of the whole layer, including what the backward pass does not need.
        moments: Moments at which the peak may be; empty if all saved values are in memory at the peak.
        host_limit: Bytes of copies in host memory at most.
    """

    operations: tuple[Operation, ...]
    values: tuple[Value, ...]
    needed: tuple[int, ...]
    forward: Cost = Cost()
    moments: tuple[Moment, ...] = ()
    host_limit: float = 0.0

    def find_recomputed(self, saved: Collection[int]) -> set[int]:
        """Return the operations that the backward pass runs again if those values are saved."""
        originals = {self.find_original(v) for v in saved}
        operations: set[int] = set()
        wanted = [v for v in self.needed if v not in originals]
        while wanted:
            operation = self.values[wanted.pop()].operation
            if operation not in operations:
                operations.add(operation)
                wanted += (v for v in self.operations[operation].inputs if v not in originals)
        return operations

    def find_useful(self, saved: Collection[int]) -> set[int]:
        """Return the saved values that the backward pass or a recomputed operation reads."""
        read = {v for op in self.find_recomputed(saved) for v in self.operations[op].inputs} | set(self.needed)
        return {v for v in saved if self.find_original(v) in read}

    def find_original(self, value: int) -> int:
        """Return the value itself, or for a copy in host memory the value that it is a copy of."""
        original = self.values[value].copy_of
        return value if original is None else original

    def find_materialized(self) -> set[int]:
        """Return the needed values that are arrays in memory when the layer is differentiated without remat.

        A needed value is left out if XLA can derive it, inside a fusion, from other needed values.
        """
        needed = set(self.needed)
        operations = {v: self.operations[self.values[v].operation] for v in needed}
        return {v for v, op in operations.items() if not (op.fusible and op.inputs and needed.issuperset(op.inputs))}

    def count_host_bytes(self, saved: Collection[int]) -> float:
        """Return the bytes of host memory that the saved copies take."""
        return sum(self.values[v].host_bytes for v in saved)

    def count_bytes(self, saved: Collection[int]) -> float:
        """Return the bytes of device memory that the saved values add."""
        return sum(self.values[v].added_bytes for v in saved)

    def estimate_peak(self, saved: Collection[int]) -> float:
        """Return the bytes in memory at the moment with the most."""
        if not self.moments:
            return self.count_bytes(saved)
        return max(m.always + sum(m.shares[v] * self.values[v].added_bytes for v in saved) for m in self.moments)

    def estimate_seconds(self, saved: Collection[int]) -> float:
        """Return the seconds of recomputation, plus those of writing and reading the saved values."""
        again = sum(self.operations[op].cost.seconds for op in self.find_recomputed(saved))
        return again + sum(self.values[v].save_seconds for v in saved)

    def count_flops(self, saved: Collection[int]) -> float:
        """Return the FLOPs of recomputation."""
        return sum(self.operations[op].cost.flops for op in self.find_recomputed(saved))


def join_graphs(graphs: Sequence[Graph], counts: Sequence[int], before: Sequence[Sequence[float]] = ()) -> Graph:
    """Join the graphs of several kinds of layers into one, with one decision for all layers of a kind.

    Args:
        graphs: One graph for each kind.
        counts: Number of layers of each kind.
        before: ``before[i][j]`` is the share of kind j that has run when the last layer of kind i begins. The backward
            pass of kind i begins with that layer: the residuals of the layers before it are in memory, and so is all
            that this layer's backward pass reads. Empty: all saved values are in memory at the peak.

    Returns:
        The joined graph. Its costs and bytes are those of all layers together.
    """
    operations: list[Operation] = []
    values: list[Value] = []
    needed: list[int] = []
    for graph, count in zip(graphs, counts, strict=True):
        first_value, first_operation = len(values), len(operations)
        for operation in graph.operations:
            cost = Cost(operation.cost.seconds * count, operation.cost.flops * count)
            inputs = tuple(v + first_value for v in operation.inputs)
            operations.append(Operation(cost, inputs, operation.fusible))
        values += (
            replace(
                value,
                operation=value.operation + first_operation,
                bytes=value.bytes * count,
                save_seconds=value.save_seconds * count,
                copy_of=None if value.copy_of is None else value.copy_of + first_value,
                host_bytes=value.host_bytes * count,
            )
            for value in graph.values
        )
        needed += (v + first_value for v in graph.needed)
    moments = [_find_moment(i, graphs, counts, shares) for i, shares in enumerate(before)]
    limit = sum(graph.host_limit * count for graph, count in zip(graphs, counts, strict=True))
    return Graph(tuple(operations), tuple(values), tuple(needed), moments=tuple(moments), host_limit=limit)


def _find_moment(kind: int, graphs: Sequence[Graph], counts: Sequence[int], shares: Sequence[float]) -> Moment:
    """Return the moment at which the last layer of a kind is differentiated."""
    materialized = graphs[kind].find_materialized()
    each: list[float] = []
    for other, graph in enumerate(graphs):
        for v in range(len(graph.values)):
            # the last layer's materialized values are in memory, saved or not: they are in `always`
            mine = counts[kind] - 1 if v in materialized else counts[kind]
            each.append(mine / counts[kind] if other == kind else shares[other])
    return Moment(graphs[kind].count_bytes(materialized), tuple(each))
