"""XLA's buffer assignment and the program that it belongs to, parsed from a compiled program's serialized messages.

The messages are XLA's own (`buffer_assignment.proto` and `hlo.proto`); only the fields that are used here are declared.
XProf's memory viewer reads the same messages. They name a value by the id of the instruction that defines it. The text
that XLA can dump instead has no fixed format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifex_bench.compat import xla_message

Position = tuple[int, tuple[int, ...]]  # an instruction's id, and an index into its (tuple) result

_ELEMENT_TYPES = (  # by the number that XLA gives a type
    *("", "pred", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f16", "f32", "f64", "tuple"),
    *("", "c64", "bf16", "token", "c128", "f8e5m2", "f8e4m3fn"),
)


@dataclass(frozen=True)
class Value:
    """A value that has a place in memory.

    Attributes:
        id: The value's number in the buffer assignment.
        position: Where the value is defined.
        aliases: Positions of the values that must share its place.
    """

    id: int
    position: Position
    aliases: tuple[Position, ...]


@dataclass(frozen=True)
class Slice:
    """The place of a value within an allocation. `value` is its id; `offset` and `size` are in bytes."""

    value: int
    offset: int
    size: int


@dataclass(frozen=True)
class Allocation:
    """A piece of memory that the compiler reserves.

    Attributes:
        kind: `argument`, `output` or `temporary`. `constant` and `thread-local` do not count in a compiled peak.
        size: Bytes.
        slices: The places of values within it.
    """

    kind: str
    size: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Instruction:
    """An instruction of the compiled program.

    Attributes:
        id: Its number, unique in the program.
        name: Its name in XLA's text.
        opcode: What it computes, such as ``fusion``.
        operation: Scopes and transformations as a path, with JAX's operation at its end (XLA's `op_name`).
        source: (file, line) of each stack frame, the innermost first.
        shape: Shape of its result, as an XLA message.
        operands: Ids of its operands.
        called: Ids of the computations that it calls.
        parameter: Number of the parameter, if the opcode is ``parameter``.
        index: Index of the element, if the opcode is ``get-tuple-element``.
        computation: Id of the computation that holds it.
    """

    id: int
    name: str
    opcode: str
    operation: str
    source: tuple[tuple[str, int], ...]
    shape: Any
    operands: tuple[int, ...]
    called: tuple[int, ...]
    parameter: int
    index: int
    computation: int


@dataclass(frozen=True)
class Assignment:
    """The buffer assignment of a program, and the program.

    Attributes:
        allocations: Every allocation.
        values: Value by id.
        instructions: Instruction by id.
        sequences: Computation -> ids of its instructions in the order in which they run.
        roots: Computation -> id of the instruction whose result it returns.
        entry: Id of the computation that is run first.
    """

    allocations: tuple[Allocation, ...]
    values: dict[int, Value]
    instructions: dict[int, Instruction]
    sequences: dict[int, tuple[int, ...]]
    roots: dict[int, int]
    entry: int


def parse_assignment(assignment: bytes, module: bytes) -> Assignment:
    """Parse a buffer assignment and its program.

    Args:
        assignment: `memory_analysis().serialized_buffer_assignment_proto` of the compiled program.
        module: The compiled module as a serialized `HloModuleProto`.

    Raises:
        ValueError: The two belong to different programs, or the program has no schedule.
    """
    buffers, program = xla_message("Assignment").FromString(assignment), xla_message("Module").FromString(module)
    if program.entry_computation_id not in {entry.key for entry in program.schedule.sequences}:
        raise ValueError("the compiler does not report the order of the program's instructions")
    sources = _Sources(program.stack_frame_index)
    instructions = {
        message.id: _parse_instruction(message, computation.id, sources)
        for computation in program.computations
        for message in computation.instructions
    }
    aliases: dict[int, list[Position]] = {}
    for alias in buffers.buffer_aliases:
        aliases.setdefault(alias.source_buffer_id, []).append(_parse_position(alias.location))
    values = {
        message.id: Value(message.id, _parse_position(message.defined_at), tuple(aliases.get(message.id, ())))
        for message in buffers.logical_buffers
    }
    if any(value.position[0] not in instructions for value in values.values()):
        raise ValueError("the buffer assignment names instructions that the program does not have")
    return Assignment(
        tuple(map(_parse_allocation, buffers.buffer_allocations)),
        values,
        instructions,
        {entry.key: tuple(entry.value.instruction_ids) for entry in program.schedule.sequences},
        {computation.id: computation.root_id for computation in program.computations},
        program.entry_computation_id,
    )


def format_shape(instruction: Instruction, index: tuple[int, ...]) -> str:
    """Return the shape of a part of an instruction's result, such as ``f32[4,2,32]`` or ``tuple of 3``."""
    shape = instruction.shape
    for element in index:
        shape = shape.tuple_shapes[element]
    if shape.tuple_shapes:
        return f"tuple of {len(shape.tuple_shapes)}"
    number = shape.element_type
    element_type = _ELEMENT_TYPES[number] if number < len(_ELEMENT_TYPES) else f"type {number} "
    return f"{element_type}[{','.join(map(str, shape.dimensions))}]"


def _parse_position(location: Any) -> Position:
    return location.instruction_id, tuple(location.shape_index)


def _parse_allocation(message: Any) -> Allocation:
    flags = {  # several may be set: the first decides
        "thread-local": message.is_thread_local,
        "constant": message.is_constant,
        "argument": message.is_entry_computation_parameter,
        "output": message.maybe_live_out,
    }
    kind = next((name for name, is_set in flags.items() if is_set), "temporary")
    slices = (Slice(part.logical_buffer_id, part.offset, part.size) for part in message.assigned)
    return Allocation(kind, message.size, tuple(slices))


def _parse_instruction(message: Any, computation: int, sources: _Sources) -> Instruction:
    return Instruction(
        message.id,
        message.name,
        message.opcode,
        message.metadata.op_name,
        sources.read_frames(message.metadata),
        message.shape,
        tuple(message.operand_ids),
        tuple(message.called_computation_ids),
        message.parameter_number,
        message.tuple_index,
        computation,
    )


class _Sources:
    """Source lines of instructions: in a table of stack frames that all share, or in the instruction itself."""

    def __init__(self, frames: Any):
        self._frames = frames

    def read_frames(self, metadata: Any) -> tuple[tuple[str, int], ...]:
        frames, frame = [], metadata.stack_frame_id
        while frame:  # ids count from 1, and 0 means no frame
            entry = self._frames.stack_frames[frame - 1]
            location = self._frames.file_locations[entry.file_location_id - 1]
            frames.append((self._frames.file_names[location.file_name_id - 1], location.line))
            frame = entry.parent_frame_id
        if not frames and metadata.source_file:
            frames = [(metadata.source_file, metadata.source_line)]
        return tuple(frames)
