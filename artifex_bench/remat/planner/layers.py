"""find_stacks: the layers of any function, found in its trace.

A layer is the body of a scan, or a call under `jax.checkpoint` (`nnx.remat`). Calls whose jaxprs are equal form a
stack. A function that has neither is a single layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from artifex_bench.compat import checkpoint_call, classic_remat, scan_inputs
from artifex_bench.remat.planner.inlined_program import InlinedProgram, Ref, inline_calls

WHOLE_FUNCTION = "function"  # the name of the only stack of a function without layers


@dataclass(frozen=True)
class Stack:
    """Layers with the same jaxpr.

    Attributes:
        name: ``scan-1``, ``calls-1`` and so on, or ``function``.
        depth: Number of layers.
        carried_bytes: Bytes that a layer passes to the next; 0 if layers cannot be run in blocks.
        slice_bytes: Bytes of the arrays that a scan slices along its layers. Splitting the scan copies them.
        positions: Indices of its equations in the inlined program: one for each call, or that of the scan.
        kept_outs: Outputs of a layer that are inputs of other layers, and therefore in memory in any case.
    """

    name: str
    depth: int
    carried_bytes: int = 0
    slice_bytes: int = 0
    positions: tuple[int, ...] = (0,)
    kept_outs: tuple[int, ...] = ()

    @property
    def is_scan(self) -> bool:
        """Whether the layers are the iterations of a scan."""
        return is_scan(self.name)


def is_scan(stack: str) -> bool:
    """Return whether a stack of that name is a scan."""
    return stack.startswith("scan")


def find_stacks(function: Callable[..., Any], *args: Any) -> tuple[Stack, ...]:
    """Find the stacks of layers of a function.

    Args:
        function: The function.
        *args: Its arguments, as arrays or shapes.

    Returns:
        Its stacks in the order in which they first run; a single stack of one layer if it has no layers.
    """
    with classic_remat():
        program = inline_calls(jax.make_jaxpr(function)(*args), keep_checkpoints=True)
    layers = name_layers(program)
    positions: dict[str, list[int]] = {}
    for index, name in layers.items():
        positions.setdefault(name, []).append(index)
    stacks = (_make_stack(program, name, indices, layers) for name, indices in positions.items())
    return tuple(stacks) or (Stack(WHOLE_FUNCTION, 1),)


def name_layers(program: InlinedProgram) -> dict[int, str]:
    """Return the stack's name for each equation that is a scan or a layer."""
    layers: dict[int, str] = {}
    names: dict[str, str] = {}
    scans = 0
    for index, equation in enumerate(program.equations):
        if equation.eqn.primitive.name == "scan":
            scans += 1
            layers[index] = f"scan-{scans}"
        elif (call := checkpoint_call(equation.eqn)) is not None:
            layers[index] = names.setdefault(str(call.program), f"calls-{len(names) + 1}")
    return layers


def _make_stack(program: InlinedProgram, name: str, positions: list[int], layers: Mapping[int, str]) -> Stack:
    eqn = program.equations[positions[0]].eqn
    if is_scan(name):
        consts, carries = scan_inputs(eqn.params)
        carried, sliced = eqn.outvars[:carries], eqn.invars[consts + carries :]
        return Stack(name, eqn.params["length"], _count_bytes(carried), _count_bytes(sliced), tuple(positions))
    # calls of another stack in between would have to run inside the block
    alone = all(layers.get(index, name) == name for index in range(positions[0], positions[-1]))
    calls = [index for index, stack in layers.items() if not is_scan(stack)]
    inputs = {atom for index in calls for atom in program.equations[index].inputs if isinstance(atom, Ref)}
    readers = [i for i in positions if i != max(layers)] or positions  # no layer follows the last
    kept = [out for out in range(len(eqn.outvars)) if all(Ref(index, out) in inputs for index in readers)]
    carried_bytes = _count_bytes(eqn.outvars) if alone else 0
    return Stack(name, len(positions), carried_bytes, 0, tuple(positions), tuple(kept))


def _count_bytes(variables: Any) -> int:
    return sum(int(var.aval.size) * int(getattr(var.aval.dtype, "itemsize", 0)) for var in variables)
