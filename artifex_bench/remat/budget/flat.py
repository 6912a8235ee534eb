"""A traced program as one flat list of equations, inner calls dissolved, that can be looked at and run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend import core, source_info_util

CHECKPOINTS = frozenset(["remat2", "checkpoint"])  # within a layer they are dissolved as well: its choice is made anew
# Custom derivatives that a traced derivative still holds are not differentiated: they are left whole.
_CALLS = frozenset(["jit", "pjit", "closed_call", "core_call"])


@dataclass(frozen=True)
class Ref:
    """Output `out` of operation `op`; the flat program's own inputs are the outputs of operation -1."""

    op: int
    out: int


Atom = Ref | core.Literal | Any  # a constant stands for itself


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
            return atom.val if isinstance(atom, core.Literal) else atom

        for index, op in enumerate(self.ops):
            eqn = op.eqn
            names = source_info_util.current_name_stack() + eqn.source_info.name_stack
            with (
                source_info_util.user_context(eqn.source_info.traceback, name_stack=names),
                eqn.ctx.manager,
            ):
                ins = list(map(read, op.ins))
                given = bind(index, ins)
                if given is None:
                    given = eqn.primitive.bind(*ins, **eqn.primitive.get_bind_params(eqn.params))
                    given = given if eqn.primitive.multiple_results else [given]
                for out, value in enumerate(given):
                    values[Ref(index, out)] = mark(Ref(index, out), value)
        return [read(atom) for atom in self.outs]


def flatten(closed: core.ClosedJaxpr, active: Sequence[bool] = (), checkpoints: bool = False) -> Flat:
    """The program with its calls dissolved (`checkpoints`: but for those); `active` marks inputs (none if left out)."""
    calls = _CALLS if checkpoints else _CALLS | CHECKPOINTS
    ops: list[Op] = []
    flags = list(active) or [False] * len(closed.jaxpr.invars)
    is_active = {Ref(-1, i): flag for i, flag in enumerate(flags)}

    def entered(atom: Atom) -> bool:
        return isinstance(atom, Ref) and is_active.get(atom, False)

    def walk(jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom]) -> list[Atom]:
        known: dict[Any, Atom] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

        def read(var: Any) -> Atom:
            return var if isinstance(var, core.Literal) else known[var]

        for eqn in jaxpr.eqns:
            ins = tuple(map(read, eqn.invars))
            if eqn.primitive.name in calls:
                inner, inner_consts = _inner(eqn)
                outs = walk(inner, inner_consts, ins)
            else:
                given = _active_outs(eqn, list(map(entered, ins)))
                refs = [Ref(len(ops), i) for i in range(len(eqn.outvars))]
                is_active.update(zip(refs, given, strict=True))
                outs = [*refs]
                ops.append(Op(eqn, ins, tuple(given)))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    outs = walk(closed.jaxpr, closed.consts, [Ref(-1, i) for i in range(len(closed.jaxpr.invars))])
    return Flat(tuple(ops), tuple(outs), tuple(map(entered, outs)))


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]]:
    inner = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
    return (inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())


def _active_outs(eqn: Any, active: list[bool]) -> list[bool]:
    """Which outputs of an equation depend on its active inputs. A scan's own body is looked into, and all branches."""
    if eqn.primitive.name == "cond":
        branches = (flatten(branch, active[1:]).active_outs for branch in eqn.params["branches"])
        return [any(flags) for flags in zip(*branches, strict=True)]
    if eqn.primitive.name != "scan":
        return [any(active)] * len(eqn.outvars)
    consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
    flags = list(active)
    while True:
        outs = flatten(eqn.params["jaxpr"], flags).active_outs
        carried = [a or b for a, b in zip(flags[consts : consts + carry], outs[:carry], strict=True)]
        if carried == flags[consts : consts + carry]:
            return [*carried, *outs[carry:]]
        flags[consts : consts + carry] = carried
