"""Attribution: the scope, operation, pass and source line behind a buffer, from the program's own metadata."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import PurePath

from artifex_bench.memory_profile.buffer_assignment import Assignment, Instruction, Position, format_shape

UNKNOWN = "not attributed"
LOOP_CARRY = "carry of a loop"
_TRANSFORMATION = re.compile(r"(jit|jvp|transpose|vmap|pmap|remat|checkpoint|custom_jvp|custom_vjp)\((.*)\)")
_CONTROL_FLOW = frozenset(
    [
        *("while", "body", "cond", "scan", "closed_call", "eval_jaxpr", "call"),
        *("checkpoint", "remat", "remat2", "rematted_computation"),
    ]
)
# Opcodes that move or convert a value. The instruction that computed the value is more informative.
_MOVES = frozenset(
    ["bitcast", "reshape", "copy", "convert", "broadcast", "transpose", "slice", "reduce-precision", "opt-barrier"]
)
# Opcodes that say little about what a place in memory holds: an initial value, or what a loop carries.
_UNINFORMATIVE = frozenset(["parameter", "while", "conditional", "call", "copy", "constant", "iota", "tuple"])
_JAX = "/site-packages/jax/"
_LIBRARIES = (_JAX, "/site-packages/flax/", "/site-packages/optax/")
_THIS_PACKAGE = ("/artifex_bench/remat/", "<frozen ")


@dataclass(frozen=True)
class Origin:
    """Where a buffer comes from.

    Attributes:
        scope: Path of named scopes; empty without one.
        operation: JAX's name of the operation, or XLA's if JAX gives none.
        phase: `argument`, `forward`, `backward`, `recomputed`, or `step`: code outside of autodiff (the optimizer).
        shape: Type and shape, such as ``f32[4,2,32]``.
        source: Source line, such as ``models/transformer.py:73``; empty if it is not known.
    """

    scope: str
    operation: str
    phase: str
    shape: str
    source: str


class OriginFinder:
    """Finds the origins of the values of one program."""

    def __init__(self, assignment: Assignment):
        """Index the program's callers: computation -> the instruction that calls it."""
        self._assignment = assignment
        self._instructions = assignment.instructions
        self._callers = {inner: caller for caller in assignment.instructions.values() for inner in caller.called}

    def find_origin(self, number: int) -> Origin:
        """Return the origin of the value with that id.

        Values may share a place in memory. The most informative of those with the same shape gives the origin, and the
        value itself if no other is more informative.
        """
        value = self._assignment.values[number]
        defining = self._instructions[value.position[0]]
        shape = format_shape(defining, value.position[1])
        if self._is_argument(defining):
            return Origin("", name_argument(defining), "argument", shape, "")
        candidates = [
            self._find_producer(position)
            for position in (value.position, *value.aliases)
            if format_shape(self._instructions[position[0]], position[1]) == shape
        ]
        # a stacked value first, then an informative opcode; `max` keeps the first of equals
        producer, stacked = max(candidates, key=lambda found: (found[1], found[0].opcode not in _UNINFORMATIVE))
        return self._describe(producer, stacked, shape)

    def _is_argument(self, instruction: Instruction) -> bool:
        return instruction.opcode == "parameter" and instruction.computation == self._assignment.entry

    def _describe(self, producer: Instruction, stacked: bool, shape: str) -> Origin:
        if shape.startswith("tuple"):
            return Origin("", "table of pointers", "step", shape, "")
        suffix = ", stacked" if stacked else ""
        if self._is_argument(producer):
            return Origin("", f"copy of {name_argument(producer)}{suffix}", "argument", shape, "")
        loop = producer if producer.opcode == "while" else None
        if producer.opcode == "parameter":
            loop = self._callers.get(producer.computation)
        if loop is not None:
            scope, _, phase = split_path(loop.operation)
            return Origin(scope, LOOP_CARRY + suffix, phase, shape, find_user_line(loop.source))
        scope, operation, phase = split_path(producer.operation)
        if phase == UNKNOWN:
            return Origin("", UNKNOWN, UNKNOWN, shape, "")
        return Origin(scope, (operation or producer.opcode) + suffix, phase, shape, find_user_line(producer.source))

    def _find_producer(self, position: Position) -> tuple[Instruction, bool]:
        """Return the instruction that computes a value, and whether the value is put into a stack by a scan."""
        here, index = self._instructions[position[0]], position[1]
        fusions: list[Instruction] = []
        named, stacked = here, False
        while True:
            if split_path(here.operation)[1] and here.opcode not in ("fusion", "parameter"):
                named = here
            following: int | None = None
            if here.opcode == "fusion":
                fusions.append(here)
                following = self._assignment.roots[here.called[0]]
            elif here.opcode == "tuple" and index:
                following, index = here.operands[index[0]], index[1:]
            elif here.opcode == "get-tuple-element":
                following, index = here.operands[0], (here.index, *index)
            elif here.opcode == "dynamic-update-slice":
                stacked, following = True, here.operands[1]
            elif here.opcode in _MOVES and here.operands:
                following = here.operands[0]
            elif here.opcode == "parameter" and fusions:
                following = fusions.pop().operands[here.parameter]
            if following is None:
                break
            here = self._instructions[following]
        known = split_path(here.operation)[1] or here.opcode in _UNINFORMATIVE
        return (here if known else named if split_path(named.operation)[1] else here), stacked


def split_path(path: str) -> tuple[str, str, str]:
    """Split an operation's path into (scope, operation, phase).

    Args:
        path: For example ``jit(step)/jvp(layers)/while/body/attention/exp``, which gives
            ``("layers/attention", "exp", "forward")``. The operation is empty if the path ends in a loop or a
            transformation. The phase of an empty path is UNKNOWN.
    """
    if not path:
        return "", "", UNKNOWN
    path = path.rpartition(";")[2]  # XLA joins the paths of operations that it merges
    phase = "step"
    if "rematted_computation" in path:
        phase = "recomputed"
    elif "transpose(" in path:
        phase = "backward"
    elif "jvp(" in path:
        phase = "forward"
    *scopes, last = _split_at_slashes(path)
    names = [name for name, _ in itertools.groupby(name for part in scopes for name in _unwrap_scopes(part))]
    if last in _CONTROL_FLOW or _TRANSFORMATION.fullmatch(last):
        return "/".join([*names, *_unwrap_scopes(last)]), "", phase
    return "/".join(names), last, phase


def find_user_line(frames: tuple[tuple[str, int], ...]) -> str:
    """Return the source line that a user knows, such as ``models/transformer.py:73``.

    Args:
        frames: (file, line) of each stack frame, the innermost first.

    Returns:
        The innermost frame outside of JAX, Flax, Optax and this package's `remat`; else the innermost outside of JAX
        and `remat`; empty if there is neither.
    """
    for excluded in ((*_LIBRARIES, *_THIS_PACKAGE), (_JAX, *_THIS_PACKAGE)):
        for file, number in frames:
            if not any(folder in file for folder in excluded):
                return f"{'/'.join(PurePath(file).parts[-2:])}:{number}"
    return ""


def _split_at_slashes(path: str) -> list[str]:
    """Split a path at its slashes, except at those within parentheses."""
    parts, depth = [""], 0
    for letter in path:
        depth += (letter == "(") - (letter == ")")
        if letter == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unwrap_scopes(part: str) -> list[str]:
    """Return the scopes in a part of a path, without transformations, control flow and names of jitted functions."""
    match = _TRANSFORMATION.fullmatch(part)
    if match:
        inner = () if match[1] == "jit" else _split_at_slashes(match[2])
        return [name for one in inner for name in _unwrap_scopes(one)]
    return [part] if part and part not in _CONTROL_FLOW else []


def name_argument(parameter: Instruction) -> str:
    """Return the name of an argument: ``params.layers.kernel`` of ``state['params']['layers']['kernel'].value``."""
    names = re.findall(r"\w+", parameter.operation)
    return ".".join(names[names[:1] == ["state"] : len(names) - (names[-1:] == ["value"])]) or parameter.name
