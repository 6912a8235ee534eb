"""When each value of a compiled program is alive, and what its memory holds at any moment of it.

Time is the order in which a scheduled program runs its instructions, a loop's body counted once, in its place before
the loop itself: the time that XLA's own analysis of live ranges has (`hlo_live_range.h`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from artifex_bench.memory_profile.buffer_assignment import Allocation, Assignment, Instruction, Position, Slice

_RUN_OTHERS = frozenset(["while", "conditional", "call", "async-start"])  # those whose computations run in their place
_PASS_ON = frozenset(["bitcast", "opt-barrier", "add-dependency", "domain"])


@dataclass(frozen=True)
class Timeline:
    """`order` are the instructions by time; `ranges` the first and last moment of each value that lives within it."""

    order: tuple[int, ...]
    ranges: dict[int, tuple[int, int]]

    def alive(self, value: int, moment: int) -> bool:
        first, last = self.ranges.get(value, (0, -1))
        return first <= moment <= last


def timeline(assignment: Assignment) -> Timeline:
    """The order of the program and the live range of every value with a place in memory."""
    order: list[int] = []
    spans: dict[int, tuple[int, int]] = {}
    _flatten(assignment, assignment.entry, order, spans)
    times = {instruction: moment for moment, instruction in enumerate(order)}
    users: dict[int, list[Instruction]] = defaultdict(list)
    for instruction in times:
        one = assignment.instructions[instruction]
        for operand in one.operands:
            users[operand].append(one)
    ranges = {}
    for value in assignment.values.values():
        defining = assignment.instructions[value.position[0]]
        if defining.id not in times:  # inside a fusion: it has no moment of its own
            continue
        span = spans[defining.computation]
        parameter = defining.opcode == "parameter"
        first = span[0] if parameter else times[defining.id]
        last = span[1] if parameter and defining.computation == assignment.entry else first
        for position in _positions(value.position, users, assignment):
            if position[0] == assignment.roots[defining.computation]:
                last = span[1]
            last = max([last, *(times[user.id] for user in users[position[0]] if not _passes_on(user, position))])
        ranges[value.id] = (first, last)
    return Timeline(tuple(order), ranges)


def _flatten(assignment: Assignment, computation: int, order: list[int], spans: dict[int, tuple[int, int]]) -> None:
    start = len(order)
    for instruction in assignment.sequences[computation]:
        one = assignment.instructions[instruction]
        if one.opcode in _RUN_OTHERS:
            called = reversed(one.called) if one.opcode == "while" else one.called  # listed as body, condition
            for inner in called:
                _flatten(assignment, inner, order, spans)
        order.append(instruction)
    spans[computation] = (start, len(order))  # what it returns is alive until then


def _positions(start: Position, users: dict[int, list[Instruction]], assignment: Assignment) -> Iterator[Position]:
    """Where the value that is defined there can be read: through tuples, their elements and views."""
    waiting, seen = [start], {start}
    while waiting:
        position = waiting.pop()
        yield position
        for user in users[position[0]]:
            for further in _passed_on(user, position):
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)


def _passes_on(user: Instruction, position: Position) -> bool:
    """Whether a user only hands the value on, so that whoever reads it there counts; the tuple itself it does read."""
    element = user.opcode == "get-tuple-element" and position[1] != ()
    return element or user.opcode == "tuple" or user.opcode in _PASS_ON


def _passed_on(user: Instruction, position: Position) -> Iterator[Position]:
    instruction, index = position
    if user.opcode in _PASS_ON:
        yield user.id, index
    elif user.opcode == "tuple":
        for place, operand in enumerate(user.operands):
            if operand == instruction:
                yield user.id, (place, *index)
    elif user.opcode == "get-tuple-element" and index and index[0] == user.index:
        yield user.id, index[1:]


def held(allocation: Allocation, time: Timeline, moment: int) -> list[Slice]:
    """The slices whose values are alive then, each byte once: of values in one place the latest counts."""
    return _apart((part for part in allocation.slices if time.alive(part.value, moment)), time)


def live_bytes(allocations: list[Allocation], time: Timeline) -> list[int]:
    """Bytes that are alive within the allocations at each moment, bytes shared by several values once."""
    begin: dict[int, list[tuple[int, Slice]]] = defaultdict(list)
    end: dict[int, list[tuple[int, Slice]]] = defaultdict(list)
    for number, allocation in enumerate(allocations):
        for part in allocation.slices:
            if part.value in time.ranges:
                first, last = time.ranges[part.value]
                begin[first].append((number, part))
                end[last + 1].append((number, part))
    alive: list[set[Slice]] = [set() for _ in allocations]
    sizes = [0] * len(allocations)
    found = []
    for moment in range(len(time.order)):
        for number, part in end[moment]:
            alive[number].discard(part)
        for number, part in begin[moment]:
            alive[number].add(part)
        for number in {number for number, _ in (*begin[moment], *end[moment])}:
            sizes[number] = sum(part.size for part in _apart(alive[number], time))
        found.append(sum(sizes))
    return found


def _apart(parts: Iterable[Slice], time: Timeline) -> list[Slice]:
    """The slices cut so that none share a byte: of those that begin together the longest, then the latest."""
    found: list[Slice] = []
    end = 0
    for part in sorted(parts, key=lambda part: (part.offset, -part.size, -time.ranges[part.value][0])):
        start, stop = max(part.offset, end), part.offset + part.size
        if stop > start:
            found.append(Slice(part.value, start, stop - start))
            end = stop
    return found
