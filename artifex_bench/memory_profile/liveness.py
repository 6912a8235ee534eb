"""When each value of a compiled program is alive, and how many bytes are alive at each moment.

A moment is the index of an instruction in the order in which the scheduled program runs. The body of a loop counts
once, before the loop itself. This is the time of XLA's own analysis of live ranges (`hlo_live_range.h`).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from artifex_bench.memory_profile.buffer_assignment import Allocation, Assignment, Instruction, Position, Slice

_RUN_COMPUTATIONS = frozenset(["while", "conditional", "call", "async-start"])  # opcodes that run what they call
_FORWARD_OPERAND = frozenset(["bitcast", "opt-barrier", "add-dependency", "domain"])  # opcodes with no result of theirs


@dataclass(frozen=True)
class Timeline:
    """The order of a program and the live ranges of its values.

    Attributes:
        order: Ids of the instructions by moment.
        ranges: Value's id -> first and last moment at which it is alive.
    """

    order: tuple[int, ...]
    ranges: dict[int, tuple[int, int]]

    def is_alive(self, value: int, moment: int) -> bool:
        """Return whether a value is alive at a moment."""
        first, last = self.ranges.get(value, (0, -1))
        return first <= moment <= last


class Life(NamedTuple):
    """A time in which a value occupies so many bytes: from the moment `first` to the moment `last`, both included."""

    first: int
    last: int
    bytes: int


def build_timeline(assignment: Assignment) -> Timeline:
    """Compute the order of a program and the live range of every value that has a place in memory."""
    order: list[int] = []
    spans: dict[int, tuple[int, int]] = {}
    _flatten(assignment, assignment.entry, order, spans)
    times = {instruction: moment for moment, instruction in enumerate(order)}
    users: dict[int, list[Instruction]] = defaultdict(list)
    for number in times:
        instruction = assignment.instructions[number]
        for operand in instruction.operands:
            users[operand].append(instruction)
    ranges = {}
    for value in assignment.values.values():
        defining = assignment.instructions[value.position[0]]
        if defining.id not in times:  # inside a fusion: it has no moment of its own
            continue
        span = spans[defining.computation]
        is_parameter = defining.opcode == "parameter"
        first = span[0] if is_parameter else times[defining.id]
        last = span[1] if is_parameter and defining.computation == assignment.entry else first
        for position in _find_positions(value.position, users):
            if position[0] == assignment.roots[defining.computation]:
                last = span[1]
            last = max([last, *(times[user.id] for user in users[position[0]] if not _only_forwards(user, position))])
        ranges[value.id] = (first, last)
    return Timeline(tuple(order), ranges)


def _flatten(assignment: Assignment, computation: int, order: list[int], spans: dict[int, tuple[int, int]]) -> None:
    """Append the instructions of a computation to `order`, those that it calls included, and note its span."""
    start = len(order)
    for number in assignment.sequences[computation]:
        instruction = assignment.instructions[number]
        if instruction.opcode in _RUN_COMPUTATIONS:
            # XLA lists a loop's body before its condition
            called = reversed(instruction.called) if instruction.opcode == "while" else instruction.called
            for inner in called:
                _flatten(assignment, inner, order, spans)
        order.append(number)
    spans[computation] = (start, len(order))  # its result is alive until then


def _find_positions(start: Position, users: dict[int, list[Instruction]]) -> Iterator[Position]:
    """Yield every position at which a value can be read: its own, and those reached by tuples, elements and views."""
    waiting, seen = [start], {start}
    while waiting:
        position = waiting.pop()
        yield position
        for user in users[position[0]]:
            for further in _forward_position(user, position):
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)


def _only_forwards(user: Instruction, position: Position) -> bool:
    """Return whether a user forwards a value without reading it. An element of a tuple reads the tuple itself."""
    is_element = user.opcode == "get-tuple-element" and position[1] != ()
    return is_element or user.opcode == "tuple" or user.opcode in _FORWARD_OPERAND


def _forward_position(user: Instruction, position: Position) -> Iterator[Position]:
    """Yield the positions in a user's result that hold the value at `position`."""
    instruction, index = position
    if user.opcode in _FORWARD_OPERAND:
        yield user.id, index
    elif user.opcode == "tuple":
        for place, operand in enumerate(user.operands):
            if operand == instruction:
                yield user.id, (place, *index)
    elif user.opcode == "get-tuple-element" and index and index[0] == user.index:
        yield user.id, index[1:]


def find_live_slices(allocation: Allocation, timeline: Timeline, moment: int) -> list[Slice]:
    """Return the slices whose values are alive at a moment, cut so that every byte counts once.

    Of values in the same place, the one that became alive last counts.
    """
    return _cut_overlaps((part for part in allocation.slices if timeline.is_alive(part.value, moment)), timeline)


def trace_live_bytes(allocations: Sequence[Allocation], timeline: Timeline) -> dict[int, list[Life]]:
    """Return when each value occupies memory of the allocations, and how much of it.

    A value has several lives if the bytes that it counts change: of bytes that values share, only one value counts
    them at a moment, as in `find_live_slices`. The lives of all values sum to the bytes alive at every moment.

    Returns:
        Value's id -> its lives in the order of time. Values whose bytes others count at all moments are left out.
    """
    count = len(timeline.order)  # what the program returns is alive beyond its last instruction
    changes: dict[int, dict[int, list[Slice]]] = defaultdict(lambda: defaultdict(list))  # moment -> allocation -> begin
    for number, allocation in enumerate(allocations):
        for part in allocation.slices:
            if part.value in timeline.ranges:
                first, last = timeline.ranges[part.value]
                changes[first][number].append(part)
                changes[min(last + 1, count)][number]  # it only ends there
    lives: dict[int, list[Life]] = defaultdict(list)
    alive: list[list[Slice]] = [[] for _ in allocations]
    open_since: list[dict[int, tuple[int, int]]] = [{} for _ in allocations]  # value -> since when, how many bytes
    for moment in sorted(changes):
        for number, begin in changes[moment].items():
            before = alive[number] if moment < count else []
            alive[number] = [part for part in before if timeline.is_alive(part.value, moment)] + begin
            sizes = {part.value: part.size for part in _cut_overlaps(alive[number], timeline)}
            for value, (since, size) in list(open_since[number].items()):
                if sizes.get(value) != size:
                    lives[value].append(Life(since, moment - 1, size))
                    del open_since[number][value]
            for value, size in sizes.items():
                open_since[number].setdefault(value, (moment, size))
    return lives


def sum_lives(lives: Iterable[Life], count: int) -> list[int]:
    """Return the bytes of all lives together at each of `count` moments."""
    changes = [0] * (count + 1)
    for life in lives:
        changes[life.first] += life.bytes
        changes[life.last + 1] -= life.bytes
    return list(itertools.accumulate(changes[:count]))


def join_lives(lives: Iterable[Life]) -> list[Life]:
    """Return lives in the order of time, as one where a life follows another of as many bytes at once."""
    joined: list[Life] = []
    for life in sorted(lives):
        if joined and joined[-1].last + 1 == life.first and joined[-1].bytes == life.bytes:
            joined[-1] = Life(joined[-1].first, life.last, life.bytes)
        else:
            joined.append(life)
    return joined


def _cut_overlaps(parts: Iterable[Slice], timeline: Timeline) -> list[Slice]:
    """Cut slices so that none share a byte. Of those with one offset the longest comes first, then the latest."""
    cut: list[Slice] = []
    end = 0
    for part in sorted(parts, key=lambda part: (part.offset, -part.size, -timeline.ranges[part.value][0])):
        start, stop = max(part.offset, end), part.offset + part.size
        if stop > start:
            cut.append(Slice(part.value, start, stop - start))
            end = stop
    return cut
