"""Whose memory it is: the scope, operation, pass and source line behind a buffer, from the program's own metadata."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import PurePath

from artifex_bench.memory_profile.buffer_assignment import Assignment, Instruction, Position, shape_at

UNKNOWN = "not attributed"
_WRAPPED = re.compile(r"(jit|jvp|transpose|vmap|pmap|remat|checkpoint|custom_jvp|custom_vjp)\((.*)\)")
_LOOPS = frozenset(
    [
        *("while", "body", "cond", "scan", "closed_call", "eval_jaxpr", "call"),
        *("checkpoint", "remat", "remat2", "rematted_computation"),
    ]
)
# What moves a value and does not make one: the value's maker is what is looked for.
_MOVES = frozenset(
    ["bitcast", "reshape", "copy", "convert", "broadcast", "transpose", "slice", "reduce-precision", "opt-barrier"]
)
# What says least about a place in memory that several values share: how it began, or that a loop carries it.
_TELLS_LITTLE = frozenset(["parameter", "while", "conditional", "call", "copy", "constant", "iota", "tuple"])
_JAX = "/site-packages/jax/"
_LIBRARIES = (_JAX, "/site-packages/flax/", "/site-packages/optax/")
_OWN = ("/artifex_bench/remat/", "<frozen ")


@dataclass(frozen=True)
class Origin:
    """`scope` is the path of named scopes, empty without one; `operation` has JAX's name where there is one.

    `phase`: argument, forward, backward, recomputed, or step, which is what autodiff has no part in (the optimizer).
    """

    scope: str
    operation: str
    phase: str
    shape: str
    source: str


class Origins:
    """Finds the origin of the values of one program."""

    def __init__(self, assignment: Assignment):
        self._assignment = assignment
        self._instructions = assignment.instructions
        self._callers = {inner: one for one in assignment.instructions.values() for inner in one.called}

    def of(self, value: int) -> Origin:
        """Of the values that share the value's place, what the most telling of them is."""
        found = self._assignment.values[value]
        itself = self._instructions[found.position[0]]
        shape = shape_at(itself, found.position[1])
        if itself.opcode == "parameter" and itself.computation == self._assignment.entry:
            return Origin("", argument(itself), "argument", shape, "")
        best = max(
            (
                self._ranked(position)
                for position in (found.position, *found.aliases)
                if shape_at(self._instructions[position[0]], position[1]) == shape
            ),
            key=lambda ranked: ranked[0],  # the first of those that tell as much: the value itself
        )
        return self._told(*best[1:], shape)

    def _ranked(self, position: Position) -> tuple[int, Instruction, bool]:
        """How much the maker of a value tells, the maker, and whether what it makes is put into a stack."""
        made, stacked = self._maker(position)
        return 2 * stacked + (made.opcode not in _TELLS_LITTLE), made, stacked

    def _told(self, made: Instruction, stacked: bool, shape: str) -> Origin:
        if shape.startswith("tuple"):
            return Origin("", "table of pointers", "step", shape, "")
        after = ", stacked" if stacked else ""
        if made.opcode == "parameter" and made.computation == self._assignment.entry:
            return Origin("", f"copy of {argument(made)}{after}", "argument", shape, "")
        caller = self._callers.get(made.computation)
        if made.opcode in ("parameter", "while") and (made.opcode == "while" or caller is not None):
            loop = made if made.opcode == "while" else caller
            assert loop is not None
            scope, _, phase = split(loop.operation)
            return Origin(scope, "carry of a loop" + after, phase, shape, line(loop.source))
        scope, operation, phase = split(made.operation)
        if phase == UNKNOWN:
            return Origin("", UNKNOWN, UNKNOWN, shape, "")
        return Origin(scope, (operation or made.opcode) + after, phase, shape, line(made.source))

    def _maker(self, position: Position) -> tuple[Instruction, bool]:
        """The instruction that makes the value, and whether it is put into a stack of them, as a scan's outputs are."""
        here, index = self._instructions[position[0]], position[1]
        fusions: list[Instruction] = []
        named, stacked = here, False
        while True:
            if split(here.operation)[1] and here.opcode not in ("fusion", "parameter"):
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
        known = split(here.operation)[1] or here.opcode in _TELLS_LITTLE
        return (here if known else named if split(named.operation)[1] else here), stacked


def split(path: str) -> tuple[str, str, str]:
    """(scope, operation, phase) of an operation's path, e.g. ``jit(step)/jvp(layers)/while/body/attention/exp``."""
    if not path:
        return "", "", UNKNOWN
    path = path.rpartition(";")[2]  # XLA joins the paths of operations that it makes one
    phase = "step"
    if "rematted_computation" in path:
        phase = "recomputed"
    elif "transpose(" in path:
        phase = "backward"
    elif "jvp(" in path:
        phase = "forward"
    *scopes, last = _parts(path)
    names = [name for name, _ in itertools.groupby(name for part in scopes for name in _unwrapped(part))]
    if last in _LOOPS or _WRAPPED.fullmatch(last):  # no operation: where one is
        return "/".join([*names, *_unwrapped(last)]), "", phase
    return "/".join(names), last, phase


def line(frames: tuple[tuple[str, int], ...]) -> str:
    """``models/transformer.py:73``: the innermost frame of no library, or else of one other than JAX, or nothing."""
    for others in ((*_LIBRARIES, *_OWN), (_JAX, *_OWN)):
        for file, number in frames:
            if not any(other in file for other in others):
                return f"{'/'.join(PurePath(file).parts[-2:])}:{number}"
    return ""


def _parts(path: str) -> list[str]:
    """The path at its slashes, those within brackets left alone."""
    parts, depth = [""], 0
    for letter in path:
        depth += (letter == "(") - (letter == ")")
        if letter == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unwrapped(part: str) -> list[str]:
    """The scopes in a part of a path: within transformations, without loops and the names of jitted functions."""
    found = _WRAPPED.fullmatch(part)
    if found:
        return [] if found[1] == "jit" else [name for inner in _parts(found[2]) for name in _unwrapped(inner)]
    return [part] if part and part not in _LOOPS else []


def argument(parameter: Instruction) -> str:
    """``params.stacks.layers.up.kernel`` of ``state['params']['stacks']['layers']['up']['kernel'].value``."""
    names = re.findall(r"\w+", parameter.operation)
    return ".".join(names[names[:1] == ["state"] : len(names) - (names[-1:] == ["value"])]) or parameter.name
