"""STRATEGIES and POLICIES: what a strategy's name means. Imports no JAX; `wrap.py` applies a plan to layers.

A strategy is written ``structure``, ``policy`` or ``structure/policy``: which layers are rematerialized, and what
is saved inside them all the same. A policy alone wraps every layer. Examples: ``every-2``, ``dots_saveable``,
``segments-sqrt/save_only_these_names:query+key``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from artifex_bench.core.case import CaseError, RematCase, replace_fields
from artifex_bench.core.convert import suggest_choice
from artifex_bench.models import entry
from artifex_bench.remat.planner.budget import Budget, BudgetError, parse_budget


@dataclass(frozen=True)
class Policy:
    """A policy of `jax.checkpoint_policies` by its own name, with names or further policies as arguments."""

    name: str
    names: tuple[str, ...] = ()
    offloaded: tuple[str, ...] = ()
    policies: tuple[Policy, ...] = ()

    def all_names(self) -> set[str]:
        """Every tag that the policy mentions."""
        return {*self.names, *self.offloaded}.union(*(p.all_names() for p in self.policies))

    def offloads(self) -> bool:
        """Whether the policy moves residuals to host memory."""
        return POLICIES[self.name].offloads or any(p.offloads() for p in self.policies)


@dataclass(frozen=True)
class PolicyEntry:
    """`arguments`: none, names, offload (names ++ names) or policies (policy ++ policy)."""

    summary: str
    arguments: str = "none"
    offloads: bool = False


POLICIES = {
    "everything_saveable": PolicyEntry("save all: rematerialization switched off from inside"),
    "nothing_saveable": PolicyEntry("save nothing: recompute the whole layer"),
    "dots_saveable": PolicyEntry("save matrix products"),
    "checkpoint_dots": PolicyEntry("another name of dots_saveable"),
    "dots_with_no_batch_dims_saveable": PolicyEntry("save matrix products without batch dimensions"),
    "checkpoint_dots_with_no_batch_dims": PolicyEntry("another name of dots_with_no_batch_dims_saveable"),
    "save_only_these_names": PolicyEntry("save the tagged values named", "names"),
    "save_any_names_but_these": PolicyEntry("save all tagged values but those named", "names"),
    "save_anything_except_these_names": PolicyEntry("save all values but those named", "names"),
    "save_from_both_policies": PolicyEntry("save what either policy saves", "policies"),
    "offload_dot_with_no_batch_dims": PolicyEntry("move those products to host memory", offloads=True),
    "save_and_offload_only_these_names": PolicyEntry("save some names, offload others", "offload", offloads=True),
}


@dataclass(frozen=True)
class Plan:
    """How a stack of layers is rematerialized.

    Layers are taken in groups of `period`; within a group, `layers[i]` says whether layer i is checkpointed by
    itself; `group` checkpoints the group as one. `part` names the part of each layer to checkpoint instead.
    With a `budget`, what each checkpointed layer saves is chosen to meet it, once there is something to compile.
    """

    period: int = 1
    layers: tuple[bool, ...] = (False,)
    group: bool = False
    part: str | None = None
    policy: Policy | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Strategy:
    """`plan(argument, depth)` where the name carries an argument (a number, or `sqrt` where allowed)."""

    summary: str
    plan: Callable[[int], Plan]
    sqrt: bool = False


def _blocks(nested: bool) -> Callable[[int], Plan]:
    return lambda n: Plan(n, (nested,) * n, group=True)


STRATEGIES = {
    "none": Strategy("no rematerialization: the reference", lambda n: Plan()),
    "all": Strategy("every layer", lambda n: Plan(layers=(True,))),
    "every-<n>": Strategy("every n-th layer, the first included", lambda n: Plan(n, (True,) + (False,) * (n - 1))),
    "segments-<n>": Strategy("blocks of n layers, each as one (n or sqrt)", _blocks(nested=False), sqrt=True),
    "nested-<n>": Strategy("blocks of n layers, and each layer in them (n or sqrt)", _blocks(nested=True), sqrt=True),
}
PARTS = "<part>-only"  # attention-only, mlp-only: one part of every layer
BUDGET = "budget-<budget>"  # a fraction or bytes: what every layer saves is chosen to meet it


def names() -> tuple[str, ...]:
    """The valid strategies as a user may write them."""
    policies = (name + ARGUMENTS[p.arguments] for name, p in POLICIES.items())
    return (*STRATEGIES, "attention-only", "mlp-only", BUDGET, *policies, "structure/policy")


ARGUMENTS = {"none": "", "names": ":a+b", "offload": ":saved++offloaded", "policies": ":policy++policy"}


def parse(strategy: str, depth: int) -> Plan:
    """The plan that a strategy's name means for a stack of `depth` layers. Raises CaseError."""
    structure, slash, policy = strategy.partition("/")
    if structure.startswith("budget-"):
        return Plan(layers=(True,), budget=_budget(strategy))
    if not slash and structure.partition(":")[0] in POLICIES:
        structure, policy = "all", structure
    if structure.endswith("-only") and structure != "-only":
        plan = Plan(part=structure.removesuffix("-only"))
    else:
        plan = _structure(strategy, structure, depth)
    if slash and structure == "none":
        raise CaseError(f"strategy {strategy!r}: 'none' rematerializes nothing and takes no policy")
    if not policy and slash:
        raise CaseError(f"strategy {strategy!r}: a policy must follow the slash: valid are {', '.join(POLICIES)}")
    return Plan(plan.period, plan.layers, plan.group, plan.part, _policy(strategy, policy) if policy else None)


def _structure(strategy: str, structure: str, depth: int) -> Plan:
    head, _, argument = structure.rpartition("-")
    found = STRATEGIES.get(structure) or STRATEGIES.get(f"{head}-<n>")
    if found is None or structure.endswith("-<n>"):
        raise CaseError(f"unknown strategy {strategy!r}: {suggest_choice(strategy, list(names()))}")
    if structure in STRATEGIES:
        return found.plan(1)
    if argument == "sqrt" and found.sqrt:
        return found.plan(max(1, round(math.sqrt(depth))))
    if not re.fullmatch("[0-9]{1,7}", argument) or not 1 <= int(argument) <= 10**6:
        choice = "a whole number of 1 or more" + (", or sqrt" if found.sqrt else "")
        raise CaseError(f"strategy {strategy!r}: {argument!r} after '{head}-' must be {choice}")
    return found.plan(min(int(argument), depth))


def _budget(strategy: str) -> Budget:
    structure, slash, _ = strategy.partition("/")
    if slash:
        raise CaseError(f"strategy {strategy!r}: {structure} chooses what is saved and takes no policy")
    try:
        return parse_budget(structure.removeprefix("budget-"))
    except BudgetError as error:
        raise CaseError(f"strategy {strategy!r}: {error}") from error


def _policy(strategy: str, text: str) -> Policy:
    name, colon, rest = text.partition(":")
    if name not in POLICIES:
        raise CaseError(f"strategy {strategy!r}: unknown policy {name!r}: {suggest_choice(name, POLICIES)}")
    kind = POLICIES[name].arguments
    usage = f"strategy {strategy!r}: write {name}{ARGUMENTS[kind]}"
    if kind == "none":
        if colon:
            raise CaseError(f"{usage} (it takes no arguments)")
        return Policy(name)
    if kind == "policies":
        parts = rest.split("++")
        if len(parts) != 2 or not all(parts):
            raise CaseError(f"{usage} (two policies)")
        policies = tuple(_policy(strategy, part) for part in parts)
        if any(p.offloads() for p in policies):
            raise CaseError(f"strategy {strategy!r}: JAX cannot join offload policies with save_from_both_policies")
        return Policy(name, policies=policies)
    saved, plus, offloaded = rest.partition("++")
    if kind == "offload":
        if not plus or not offloaded:
            raise CaseError(f"{usage} (names to offload after ++)")
        return Policy(name, _tags(saved, usage) if saved else (), _tags(offloaded, usage))
    return Policy(name, _tags(rest, usage))


def _tags(text: str, usage: str) -> tuple[str, ...]:
    tags = tuple(text.split("+"))
    if not all(tags):
        raise CaseError(f"{usage} (names of tagged values)")
    return tags


def check(case: RematCase) -> Plan:
    """The case's plan, after holding the case against the tables. Raises CaseError in one line."""
    model = entry(case.model)
    plan = parse(case.strategy, case.depth)
    problem = model.rule(case)
    if problem:
        raise CaseError(f"{case.model}: {problem}")
    if plan.part is not None and model.parts is not None:
        check_part(case, plan.part, model.parts)
    if plan.policy is not None and model.tags is not None:
        check_names(case, plan.policy, model.tags)
    return plan


def check_part(case: RematCase, part: str, parts: tuple[str, ...]) -> None:
    """Raise CaseError unless the model's layers have that part."""
    if part not in parts:
        has = ", ".join(parts) if parts else "none"
        raise CaseError(f"strategy {case.strategy!r}: layers of {case.model} have no part {part!r}: parts are {has}")


def check_names(case: RematCase, policy: Policy, tags: tuple[str, ...]) -> None:
    """Raise CaseError when the policy mentions a name that is attached to nothing: it would do nothing, silently."""
    unknown = sorted(policy.all_names() - set(tags))
    if unknown:
        has = ", ".join(tags) if tags else "none"
        raise CaseError(f"strategy {case.strategy!r}: {case.model} tags nothing {unknown[0]!r}: its names are {has}")


def fit(case: RematCase) -> RematCase:
    """The case without the axes its model does not have (an mlp has no sequence), so that grids stay small."""
    if entry(case.model).sequential:
        return case
    return replace_fields(case, sequence=None, heads=None)
