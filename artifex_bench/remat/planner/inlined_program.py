"""InlinedProgram: a jaxpr as one flat list of equations with inner calls inlined, to analyse and to run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

Span = tuple[int, int]  # equations from the first index to before the second


@dataclass(frozen=True)
class Ref:
    """Output `out` of equation number `equation`. The program's own inputs are the outputs of equation -1."""

    equation: int
    out: int


Atom = Ref | Literal | Any  # anything that is neither a reference nor a literal is a constant


@dataclass(frozen=True)
class Equation:
    """An equation of a jaxpr with its inputs resolved.

    Attributes:
        eqn: JAX's own equation.
        inputs: References to earlier outputs, literals and constants.
        active: For each output, whether it depends on an active input of the program (a tangent).
    """

    eqn: Any
    inputs: tuple[Atom, ...]
    active: tuple[bool, ...]


@dataclass(frozen=True)
class InlinedProgram:
    """Equations in order, the program's outputs, and for each output whether it depends on active inputs."""

    equations: tuple[Equation, ...]
    outs: tuple[Atom, ...]
    active_outs: tuple[bool, ...]

    def run(
        self,
        args: Sequence[Any],
        mark: Callable[[Ref, Any], Any] = lambda _, value: value,
        bind: Callable[[int, list[Any]], list[Any] | None] = lambda *_: None,
    ) -> list[Any]:
        """Run, or trace, the program.

        Args:
            args: Values of the program's inputs.
            mark: Called with every output of every equation; its result replaces the output.
            bind: Called with each equation's index and input values. It returns the outputs, or None to bind the
                equation's own primitive.

        Returns:
            The program's outputs. Source lines and scopes stay those of the first trace.
        """
        values: dict[Ref, Any] = {Ref(-1, i): arg for i, arg in enumerate(args)}

        def read(atom: Atom) -> Any:
            if isinstance(atom, Ref):
                return values[atom]
            return atom.val if isinstance(atom, Literal) else atom

        for index, equation in enumerate(self.equations):
            with as_traced(equation.eqn):
                inputs = list(map(read, equation.inputs))
                given = bind(index, inputs)
                for out, value in enumerate(bind_again(equation.eqn, inputs) if given is None else given):
                    values[Ref(index, out)] = mark(Ref(index, out), value)
        return [read(atom) for atom in self.outs]


def inline_calls(traced: TracedProgram, active: Sequence[bool] = (), keep_checkpoints: bool = False) -> InlinedProgram:
    """Inline the calls of a jaxpr.

    Args:
        traced: The jaxpr.
        active: For each input, whether it is active; none is if left out.
        keep_checkpoints: Keep calls under `jax.checkpoint` as equations. Within a layer they are inlined, because the
            planner chooses anew what is saved.

    Returns:
        The program. Scans, conditionals and custom derivatives stay equations.
    """
    program, program_consts = open_program(traced)
    equations: list[Equation] = []
    flags = list(active) or [False] * len(program.invars)
    is_active = {Ref(-1, i): flag for i, flag in enumerate(flags)}

    def depends_on_active(atom: Atom) -> bool:
        return isinstance(atom, Ref) and is_active.get(atom, False)

    def walk(jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom]) -> list[Atom]:
        known: dict[Any, Atom] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

        def read(var: Any) -> Atom:
            return var if isinstance(var, Literal) else known[var]

        for eqn in jaxpr.eqns:
            inputs = tuple(map(read, eqn.invars))
            if (inner := _program_to_inline(eqn, keep_checkpoints)) is not None:
                outs = walk(*open_program(inner), inputs)
            else:
                given = _find_active_outs(eqn, list(map(depends_on_active, inputs)))
                refs = [Ref(len(equations), i) for i in range(len(eqn.outvars))]
                is_active.update(zip(refs, given, strict=True))
                outs = [*refs]
                equations.append(Equation(eqn, inputs, tuple(given)))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    outs = walk(program, program_consts, [Ref(-1, i) for i in range(len(program.invars))])
    return InlinedProgram(tuple(equations), tuple(outs), tuple(map(depends_on_active, outs)))


def _program_to_inline(eqn: Any, keep_checkpoints: bool) -> TracedProgram | None:
    """Return the program that an equation calls, or None if the equation stays."""
    if (call := checkpoint_call(eqn)) is not None:
        return None if keep_checkpoints else call.program
    return called_program(eqn)


def _find_active_outs(eqn: Any, active: list[bool]) -> list[bool]:
    """Return which outputs of an equation depend on its active inputs; scan bodies and branches are looked into."""
    if eqn.primitive.name == "cond":
        branches = (inline_calls(branch, active[1:]).active_outs for branch in eqn.params["branches"])
        return [any(flags) for flags in zip(*branches, strict=True)]
    if eqn.primitive.name != "scan":
        return [any(active)] * len(eqn.outvars)
    consts, carry = scan_inputs(eqn.params)
    flags = list(active)
    while True:  # a carry that becomes active makes the next iteration's carry active
        outs = inline_calls(eqn.params["jaxpr"], flags).active_outs
        carried = [a or b for a, b in zip(flags[consts : consts + carry], outs[:carry], strict=True)]
        if carried == flags[consts : consts + carry]:
            return [*carried, *outs[carry:]]
        flags[consts : consts + carry] = carried


def fuse_spans(
    program: InlinedProgram, spans: Sequence[Span]
) -> tuple[InlinedProgram, dict[int, tuple[int, InlinedProgram]]]:
    """Replace each span of equations by a single equation.

    Args:
        program: The program.
        spans: Disjoint spans of its equations.

    Returns:
        The program with one equation for each span, and for each such equation's index where the span began and the
        span as a program of its own. Its inputs are the earlier values that the span reads; its outputs are the
        values that later equations read.
    """
    last_read = {ref: i for i, equation in enumerate(program.equations) for ref in equation.inputs if _is_ref(ref)}
    last_read |= {ref: len(program.equations) for ref in program.outs if _is_ref(ref)}
    ends = dict(spans)
    equations: list[Equation] = []
    fused: dict[int, tuple[int, InlinedProgram]] = {}
    moved: dict[Ref, Ref] = {}
    start = 0
    while start < len(program.equations):
        stop = ends.get(start, start + 1)
        inside = program.equations[start:stop]
        made = [Ref(start + i, out) for i, equation in enumerate(inside) for out in range(len(equation.active))]
        if start in ends:
            read = (atom for equation in inside for atom in equation.inputs if isinstance(atom, Ref))
            outer = dict.fromkeys(ref for ref in read if ref.equation < start)
            outs = [ref for ref in made if last_read.get(ref, -1) >= stop]
            local = {ref: Ref(-1, i) for i, ref in enumerate(outer)}
            local |= {ref: Ref(ref.equation - start, ref.out) for ref in made}
            inputs: Sequence[Atom] = tuple(outer)
            body = tuple(replace(equation, inputs=_rename(equation.inputs, local)) for equation in inside)
            fused[len(equations)] = (start, InlinedProgram(body, _rename(outs, local), (False,) * len(outs)))
        else:
            inputs, outs = inside[0].inputs, made
        moved |= {ref: Ref(len(equations), i) for i, ref in enumerate(outs)}
        equations.append(Equation(inside[0].eqn, _rename(inputs, moved), (False,) * len(outs)))
        start = stop
    return InlinedProgram(tuple(equations), _rename(program.outs, moved), program.active_outs), fused


def _is_ref(atom: Atom) -> bool:
    return isinstance(atom, Ref)


def _rename(atoms: Sequence[Atom], names: dict[Ref, Ref]) -> tuple[Atom, ...]:
    return tuple(names.get(atom, atom) if isinstance(atom, Ref) else atom for atom in atoms)
