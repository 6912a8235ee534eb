"""A traced program as one flat list of equations, inner calls dissolved, that can be looked at and run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from artifex_bench.compat import (
    Literal,
    TracedProgram,
    as_traced,
    bind_again,
    called_program,
    checkpoint_call,
    open_program,
    scan_inputs,
)


@dataclass(frozen=True)
class Ref:
    """Output `out` of operation `op`; the flat program's own inputs are the outputs of operation -1."""

    op: int
    out: int


Atom = Ref | Literal | Any  # a constant stands for itself


@dataclass(frozen=True)
class Op:
    """An equation. `active[i]`: whether output i depends on an active input of the program."""

    eqn: Any
    ins: tuple[Atom, ...]
    active: tuple[bool, ...]


@dataclass(frozen=True)
class Flat:
    """Operations in order, and what the program gives; `active_outs` says which of these depend on active inputs."""

    ops: tuple[Op, ...]
    outs: tuple[Atom, ...]
    active_outs: tuple[bool, ...]

    def run(
        self,
        args: Sequence[Any],
        mark: Callable[[Ref, Any], Any] = lambda _, value: value,
        bind: Callable[[int, list[Any]], list[Any] | None] = lambda *_: None,
    ) -> list[Any]:
        """The program's outputs; each operation's are passed through `mark` before anything uses them.

        `bind(index, inputs)` may give another way to run an operation, or None. Source lines stay those of the first
        tracing.
        """
        values: dict[Ref, Any] = {Ref(-1, i): arg for i, arg in enumerate(args)}

        def read(atom: Atom) -> Any:
            if isinstance(atom, Ref):
                return values[atom]
            return atom.val if isinstance(atom, Literal) else atom

        for index, op in enumerate(self.ops):
            with as_traced(op.eqn):
                ins = list(map(read, op.ins))
                given = bind(index, ins)
                for out, value in enumerate(bind_again(op.eqn, ins) if given is None else given):
                    values[Ref(index, out)] = mark(Ref(index, out), value)
        return [read(atom) for atom in self.outs]


def flatten(traced: TracedProgram, active: Sequence[bool] = (), checkpoints: bool = False) -> Flat:
    """The program with its calls dissolved (`checkpoints`: but for those); `active` marks inputs (none if left out).

    Within a layer checkpoint calls are dissolved as well: what it saves is chosen anew.
    """
    program, program_consts = open_program(traced)
    ops: list[Op] = []
    flags = list(active) or [False] * len(program.invars)
    is_active = {Ref(-1, i): flag for i, flag in enumerate(flags)}

    def entered(atom: Atom) -> bool:
        return isinstance(atom, Ref) and is_active.get(atom, False)

    def walk(jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom]) -> list[Atom]:
        known: dict[Any, Atom] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

        def read(var: Any) -> Atom:
            return var if isinstance(var, Literal) else known[var]

        for eqn in jaxpr.eqns:
            ins = tuple(map(read, eqn.invars))
            if (inner := _dissolved(eqn, checkpoints)) is not None:
                outs = walk(*open_program(inner), ins)
            else:
                given = _active_outs(eqn, list(map(entered, ins)))
                refs = [Ref(len(ops), i) for i in range(len(eqn.outvars))]
                is_active.update(zip(refs, given, strict=True))
                outs = [*refs]
                ops.append(Op(eqn, ins, tuple(given)))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    outs = walk(program, program_consts, [Ref(-1, i) for i in range(len(program.invars))])
    return Flat(tuple(ops), tuple(outs), tuple(map(entered, outs)))


def _dissolved(eqn: Any, checkpoints: bool) -> TracedProgram | None:
    """The program that takes the place of an equation that calls it, or None where the equation stays."""
    if (call := checkpoint_call(eqn)) is not None:
        return None if checkpoints else call.program
    return called_program(eqn)


def _active_outs(eqn: Any, active: list[bool]) -> list[bool]:
    """Which outputs of an equation depend on its active inputs. A scan's own body is looked into, and all branches."""
    if eqn.primitive.name == "cond":
        branches = (flatten(branch, active[1:]).active_outs for branch in eqn.params["branches"])
        return [any(flags) for flags in zip(*branches, strict=True)]
    if eqn.primitive.name != "scan":
        return [any(active)] * len(eqn.outvars)
    consts, carry = scan_inputs(eqn.params)
    flags = list(active)
    while True:
        outs = flatten(eqn.params["jaxpr"], flags).active_outs
        carried = [a or b for a, b in zip(flags[consts : consts + carry], outs[:carry], strict=True)]
        if carried == flags[consts : consts + carry]:
            return [*carried, *outs[carry:]]
        flags[consts : consts + carry] = carried
