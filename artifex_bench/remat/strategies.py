"""STRATEGIES and POLICIES: what a strategy's name means. Imports no JAX; `apply.py` applies a plan to layers.

A strategy is written ``structure``, ``policy`` or ``structure/policy``. The structure says which layers are
rematerialized, the policy which of their residuals are saved. A policy alone wraps every layer. Examples: ``every-2``,
``dots_saveable``, ``segments-sqrt/save_only_these_names:query+key``, ``all/package.module:attribute``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from artifex_bench.core.case import CaseError
from artifex_bench.core.convert import suggest_choice
from artifex_bench.core.plugin import import_user_object
from artifex_bench.remat.planner.budget import Budget, BudgetError, parse_budget

# What a policy's name is followed by, for each kind of arguments.
ARGUMENTS = {"none": "", "names": ":a+b", "offload": ":saved++offloaded", "policies": ":policy++policy"}
OWN_POLICY = "package.module:attribute"  # a policy of the user's own
PARTS = "<part>-only"  # attention-only, mlp-only: one part of every layer
BUDGET = "budget-<budget>"  # a fraction or bytes: what every layer saves is chosen to meet it


@dataclass(frozen=True)
class Policy:
    """A policy of `jax.checkpoint_policies` with its arguments, or one of the user's own.

    Attributes:
        name: Its name in JAX, or ``package.module:attribute``.
        names: Tags that it saves, or does not save, as its name says.
        offloaded: Tags that it moves to host memory.
        policies: The policies that it joins.
    """

    name: str
    names: tuple[str, ...] = ()
    offloaded: tuple[str, ...] = ()
    policies: tuple[Policy, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is a policy of the user's own."""
        return self.name not in POLICIES

    @property
    def offloads(self) -> bool:
        """Whether it moves residuals to host memory, as far as that is known of a policy of the user's own."""
        return (not self.is_own and POLICIES[self.name].offloads) or any(p.offloads for p in self.policies)

    def find_names(self) -> set[str]:
        """Return every tag that it mentions."""
        return {*self.names, *self.offloaded}.union(*(p.find_names() for p in self.policies))


@dataclass(frozen=True)
class PolicyEntry:
    """A policy of JAX that a strategy may name.

    Attributes:
        summary: What it does, in a few words.
        arguments: What it takes, a key of `ARGUMENTS`.
        offloads: Whether it moves residuals to host memory.
    """

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
    "offload_dot_with_no_batch_dims": PolicyEntry(
        "move matrix products without batch dimensions to host memory", offloads=True
    ),
    "save_and_offload_only_these_names": PolicyEntry("save some names, offload others", "offload", offloads=True),
}


@dataclass(frozen=True)
class Plan:
    """How a stack of layers is rematerialized.

    Attributes:
        period: Number of layers in a group.
        layers: For each layer of a group, whether it is checkpointed alone.
        group: Whether each group is checkpointed as one.
        part: The part of each layer to checkpoint instead, or None.
        policy: What checkpointed layers save, or None for their inputs alone.
        budget: Compiled peak to meet, or None. The planner then chooses what each layer saves.
    """

    period: int = 1
    layers: tuple[bool, ...] = (False,)
    group: bool = False
    part: str | None = None
    policy: Policy | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Strategy:
    """A structure that a strategy may name.

    Attributes:
        summary: Which layers it rematerializes, in a few words.
        plan: Returns the plan for the number in its name (1 if it has none).
        sqrt: Whether ``sqrt`` may stand for the number: the square root of the depth.
    """

    summary: str
    plan: Callable[[int], Plan]
    sqrt: bool = False


STRATEGIES = {
    "none": Strategy("no rematerialization: the reference", lambda n: Plan()),
    "all": Strategy("every layer", lambda n: Plan(layers=(True,))),
    "every-<n>": Strategy("every n-th layer, the first included", lambda n: Plan(n, (True,) + (False,) * (n - 1))),
    "segments-<n>": Strategy(
        "blocks of n layers, each as one (n or sqrt)", lambda n: Plan(n, (False,) * n, group=True), sqrt=True
    ),
    "nested-<n>": Strategy(
        "blocks of n layers, and each layer in them (n or sqrt)", lambda n: Plan(n, (True,) * n, group=True), sqrt=True
    ),
}


def list_strategies() -> tuple[str, ...]:
    """Return the valid strategies as a user may write them."""
    policies = (name + ARGUMENTS[p.arguments] for name, p in POLICIES.items())
    return (*STRATEGIES, "attention-only", "mlp-only", BUDGET, *policies, OWN_POLICY, "structure/policy")


def parse_strategy(strategy: str, depth: int) -> Plan:
    """Return the plan that a strategy means for a stack of `depth` layers.

    Raises:
        CaseError: The strategy is unknown or malformed. A policy of the user's own is not imported here.
    """
    structure, slash, policy = strategy.partition("/")
    if structure.startswith("budget-"):
        return Plan(layers=(True,), budget=_parse_budget(strategy))
    if not slash and (structure.partition(":")[0] in POLICIES or _is_user_object(structure)):
        structure, policy = "all", structure
    if structure.endswith("-only") and structure != "-only":
        plan = Plan(part=structure.removesuffix("-only"))
    else:
        plan = _parse_structure(strategy, structure, depth)
    if slash and structure == "none":
        raise CaseError(f"strategy {strategy!r}: 'none' rematerializes nothing and takes no policy")
    if not policy and slash:
        raise CaseError(f"strategy {strategy!r}: a policy must follow the slash: valid are {', '.join(POLICIES)}")
    return replace(plan, policy=_parse_policy(strategy, policy) if policy else None)


def _is_user_object(text: str) -> bool:
    return re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", text) is not None


def _parse_structure(strategy: str, structure: str, depth: int) -> Plan:
    head, _, argument = structure.rpartition("-")
    entry = STRATEGIES.get(structure) or STRATEGIES.get(f"{head}-<n>")
    if entry is None or structure.endswith("-<n>"):
        raise CaseError(f"unknown strategy {strategy!r}: {suggest_choice(strategy, list(list_strategies()))}")
    if structure in STRATEGIES:
        return entry.plan(1)
    if argument == "sqrt" and entry.sqrt:
        return entry.plan(max(1, round(math.sqrt(depth))))
    if not re.fullmatch("[1-9][0-9]{0,6}", argument) or not 1 <= int(argument) <= 10**6:
        choice = "a whole number of 1 or more" + (", or sqrt" if entry.sqrt else "")
        raise CaseError(f"strategy {strategy!r}: {argument!r} after '{head}-' must be {choice}, without leading zeros")
    return entry.plan(min(int(argument), depth))


def _parse_budget(strategy: str) -> Budget:
    structure, slash, _ = strategy.partition("/")
    if slash:
        raise CaseError(f"strategy {strategy!r}: {structure} chooses what is saved and takes no policy")
    try:
        return parse_budget(structure.removeprefix("budget-"))
    except BudgetError as error:
        raise CaseError(f"strategy {strategy!r}: {error}") from error


def _parse_policy(strategy: str, text: str) -> Policy:
    name, colon, rest = text.partition(":")
    if name not in POLICIES:
        if _is_user_object(text):
            return Policy(text)
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
        policies = tuple(_parse_policy(strategy, part) for part in parts)
        if any(p.offloads for p in policies):
            raise CaseError(f"strategy {strategy!r}: JAX cannot join offload policies with save_from_both_policies")
        return Policy(name, policies=policies)
    saved, plus, offloaded = rest.partition("++")
    if kind == "offload":
        if not plus or not offloaded:
            raise CaseError(f"{usage} (names to offload after ++)")
        return Policy(name, _parse_tags(saved, usage) if saved else (), _parse_tags(offloaded, usage))
    return Policy(name, _parse_tags(rest, usage))


def _parse_tags(text: str, usage: str) -> tuple[str, ...]:
    tags = tuple(text.split("+"))
    if not all(tags):
        raise CaseError(f"{usage} (names of tagged values)")
    return tags


def import_policy(name: str) -> Callable[..., Any]:
    """Import a policy of the user's own: ``(primitive, *inputs, **params) -> bool``, whether its result is saved.

    Raises:
        CaseError: It cannot be imported, or is no function.
    """
    try:
        policy = import_user_object("policy", name)
    except CaseError as error:
        raise CaseError(f"{error} (a built-in policy? {suggest_choice(name.partition(':')[0], POLICIES)})") from error
    if not callable(policy):
        raise CaseError(f"policy {name!r}: must be a function like those of jax.checkpoint_policies")
    return policy
