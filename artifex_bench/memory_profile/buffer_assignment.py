"""XLA's buffer assignment and the program it is of, read from what a compiled program serializes.

The messages are XLA's own (`buffer_assignment.proto` and `hlo.proto`): of each only the fields that are used here.
They are what XProf's memory viewer reads, and they name values by the ids of the instructions that define them; the
text that XLA can dump has no fixed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifex_bench.compat import xla_message

Position = tuple[int, tuple[int, ...]]  # an instruction's id and where in its (tuple) result

_ELEMENTS = (  # by the number that XLA gives a type
    *("", "pred", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f16", "f32", "f64", "tuple"),
    *("", "c64", "bf16", "token", "c128", "f8e5m2", "f8e4m3fn"),
)


@dataclass(frozen=True)
class Value:
    """A value that has a place in memory: where it is defined, and the values that must lie in the same place."""

    id: int
    position: Position
    aliases: tuple[Position, ...]


@dataclass(frozen=True)
class Slice:
    """The place of a value within an allocation, in bytes."""

    value: int
    offset: int
    size: int


@dataclass(frozen=True)
class Allocation:
    """`kind`: argument, output, temporary; or constant and thread-local, which no compiled peak counts."""

    kind: str
    size: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Instruction:
    """`source` is (file, line) frames, the innermost first; `parameter` and `index` as far as the opcode has them."""

    id: int
    name: str
    opcode: str
    operation: str  # the path of scopes and transformations with the operation at its end (XLA: op_name)
    source: tuple[tuple[str, int], ...]
    shape: Any
    operands: tuple[int, ...]
    called: tuple[int, ...]
    parameter: int
    index: int
    computation: int


@dataclass(frozen=True)
class Assignment:
    """Allocations and values of a program, and the program: instructions, their order, the roots of computations."""

    allocations: tuple[Allocation, ...]
    values: dict[int, Value]
    instructions: dict[int, Instruction]
    sequences: dict[int, tuple[int, ...]]  # computation -> its instructions in the order they run
    roots: dict[int, int]  # computation -> the instruction that is its result
    entry: int


def read(assignment: bytes, module: bytes) -> Assignment:
    """The assignment, from `memory_analysis().serialized_buffer_assignment_proto`, and the module that was compiled.

    Raises ValueError when they are not of the same program, or the program has no order.
    """
    buffers, program = xla_message("Assignment").FromString(assignment), xla_message("Module").FromString(module)
    if program.entry_computation_id not in {entry.key for entry in program.schedule.sequences}:
        raise ValueError("this compiler does not tell the order of the program")
    sources = _Sources(program.stack_frame_index)
    instructions = {
        one.id: _instruction(one, computation.id, sources)
        for computation in program.computations
        for one in computation.instructions
    }
    aliases: dict[int, list[Position]] = {}
    for alias in buffers.buffer_aliases:
        aliases.setdefault(alias.source_buffer_id, []).append(_position(alias.location))
    values = {
        one.id: Value(one.id, _position(one.defined_at), tuple(aliases.get(one.id, ())))
        for one in buffers.logical_buffers
    }
    if any(value.position[0] not in instructions for value in values.values()):
        raise ValueError("the buffer assignment names instructions that the program does not have")
    return Assignment(
        tuple(map(_allocation, buffers.buffer_allocations)),
        values,
        instructions,
        {entry.key: tuple(entry.value.instruction_ids) for entry in program.schedule.sequences},
        {computation.id: computation.root_id for computation in program.computations},
        program.entry_computation_id,
    )


def shape_at(instruction: Instruction, index: tuple[int, ...]) -> str:
    """``f32[4,2,32]`` of a part of an instruction's result; a tuple's is its table of pointers."""
    shape = instruction.shape
    for one in index:
        shape = shape.tuple_shapes[one]
    if shape.tuple_shapes:
        return f"tuple of {len(shape.tuple_shapes)}"
    number = shape.element_type
    element = _ELEMENTS[number] if number < len(_ELEMENTS) else f"type {number} "
    return f"{element}[{','.join(map(str, shape.dimensions))}]"


def _position(location: Any) -> Position:
    return location.instruction_id, tuple(location.shape_index)


def _allocation(one: Any) -> Allocation:
    kind = "temporary"
    for kind_of, is_it in (
        ("thread-local", one.is_thread_local),
        ("constant", one.is_constant),
        ("argument", one.is_entry_computation_parameter),
        ("output", one.maybe_live_out),
    ):
        if is_it:
            kind = kind_of
            break
    slices = (Slice(part.logical_buffer_id, part.offset, part.size) for part in one.assigned)
    return Allocation(kind, one.size, tuple(slices))


def _instruction(one: Any, computation: int, sources: _Sources) -> Instruction:
    return Instruction(
        one.id,
        one.name,
        one.opcode,
        one.metadata.op_name,
        sources.of(one.metadata),
        one.shape,
        tuple(one.operand_ids),
        tuple(one.called_computation_ids),
        one.parameter_number,
        one.tuple_index,
        computation,
    )


class _Sources:
    """Source lines: a file and line with the instruction, or its place in a table of stack frames that all share."""

    def __init__(self, frames: Any):
        self._frames = frames

    def of(self, metadata: Any) -> tuple[tuple[str, int], ...]:
        found, frame = [], metadata.stack_frame_id
        while frame:  # ids count from 1: 0 is none
            here = self._frames.stack_frames[frame - 1]
            place = self._frames.file_locations[here.file_location_id - 1]
            found.append((self._frames.file_names[place.file_name_id - 1], place.line))
            frame = here.parent_frame_id
        if not found and metadata.source_file:
            found = [(metadata.source_file, metadata.source_line)]
        return tuple(found)
