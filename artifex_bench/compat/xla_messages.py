"""XLA: the protocol buffers that a compiled program serializes.

Tested on jax 0.10.2 (Python 3.11) and jax 0.12.0.1 (Python 3.13).
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def buffer_assignment(compiled: Any) -> tuple[bytes, bytes] | None:
    """Return the buffer assignment and the program of a compiled step, each a serialized XLA message.

    Returns:
        (buffer assignment, module), or None if the compiler does not report its buffer assignment.
    """
    assignment = getattr(compiled.memory_analysis(), "serialized_buffer_assignment_proto", None)
    if not assignment:
        return None
    return assignment, compiled.runtime_executable().hlo_modules()[0].as_serialized_hlo_module_proto()


# The fields used here of XLA's own messages (`buffer_assignment.proto`, `hlo.proto`), which no package installs.
# Message -> field -> (number, type). A star marks a repeated field; a capital letter starts another message's name.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Assignment": {
        "logical_buffers": (1, "Logical*"),
        "buffer_aliases": (2, "Alias*"),
        "buffer_allocations": (3, "Allocation*"),
    },
    "Logical": {"id": (1, "int64"), "size": (2, "int64"), "defined_at": (3, "Location")},
    "Location": {"shape_index": (3, "int64*"), "instruction_id": (4, "int64")},
    "Alias": {"source_buffer_id": (1, "int64"), "location": (2, "Location")},
    "Allocation": {
        "size": (2, "int64"),
        "is_thread_local": (3, "bool"),
        "is_entry_computation_parameter": (5, "bool"),
        "parameter_number": (6, "int64"),
        "maybe_live_out": (7, "bool"),
        "assigned": (9, "Assigned*"),
        "is_constant": (12, "bool"),
    },
    "Assigned": {"logical_buffer_id": (1, "int64"), "offset": (2, "int64"), "size": (3, "int64")},
    "Module": {
        "computations": (3, "Computation*"),
        "entry_computation_id": (6, "int64"),
        "schedule": (7, "Schedule"),
        "stack_frame_index": (17, "Frames"),
    },
    "Computation": {"instructions": (2, "Instruction*"), "id": (5, "int64"), "root_id": (6, "int64")},
    "Instruction": {
        "name": (1, "string"),
        "opcode": (2, "string"),
        "shape": (3, "Shape"),
        "metadata": (7, "Metadata"),
        "parameter_number": (9, "int64"),
        "tuple_index": (13, "int64"),
        "id": (35, "int64"),
        "operand_ids": (36, "int64*"),
        "called_computation_ids": (38, "int64*"),
    },
    "Shape": {"element_type": (2, "int64"), "dimensions": (3, "int64*"), "tuple_shapes": (4, "Shape*")},
    "Metadata": {
        "op_name": (2, "string"),
        "source_file": (3, "string"),
        "source_line": (4, "int64"),
        "stack_frame_id": (15, "int64"),
    },
    "Schedule": {"sequences": (1, "SequenceEntry*")},
    "SequenceEntry": {"key": (1, "int64"), "value": (2, "Sequence")},
    "Sequence": {"instruction_ids": (1, "int64*")},
    "Frames": {
        "file_names": (1, "string*"),
        "file_locations": (3, "FileLocation*"),
        "stack_frames": (4, "Frame*"),
    },
    "FileLocation": {"file_name_id": (1, "int64"), "line": (3, "int64")},
    "Frame": {"file_location_id": (1, "int64"), "parent_frame_id": (2, "int64")},
}


def xla_message(name: str) -> Any:
    """Return the class of one of XLA's messages, to parse what a compiled program serializes."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"artifex_bench.{name}"))


@functools.cache
def _pool() -> Any:
    """Return a pool with the descriptors of all messages."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="assignment.proto", package="artifex_bench", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.removesuffix("*")
            added = message.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".artifex_bench.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
