"""Checks of a case by the tables of models and strategies. Imports no JAX."""

from __future__ import annotations

from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.models import find_model
from artifex_bench.remat.strategies import Plan, Policy, import_policy, parse_strategy


def check_case(case: RematCase) -> Plan:
    """Check a case before its model is built.

    Returns:
        The plan of its strategy.

    Raises:
        CaseError: The model or the strategy is unknown, they do not go together, or a policy cannot be imported.
    """
    model = find_model(case.model)
    plan = parse_strategy(case.strategy, case.depth)
    problem = model.find_problem(case)
    if problem:
        raise CaseError(f"{case.model}: {problem}")
    if plan.part is not None and model.parts is not None:
        check_part(case, plan.part, model.parts)
    if plan.policy is not None:
        _check_own_policies(plan.policy)
        if model.tags is not None:
            check_tags(case, plan.policy, model.tags)
    return plan


def _check_own_policies(policy: Policy) -> None:
    if policy.is_own:
        import_policy(policy.name)
    for joined in policy.policies:
        _check_own_policies(joined)


def check_part(case: RematCase, part: str, parts: tuple[str, ...]) -> None:
    """Raise CaseError unless the model's layers have that part."""
    if part not in parts:
        has = ", ".join(parts) if parts else "none"
        raise CaseError(f"strategy {case.strategy!r}: layers of {case.model} have no part {part!r}: parts are {has}")


def check_tags(case: RematCase, policy: Policy, tags: tuple[str, ...]) -> None:
    """Raise CaseError if the policy names a tag that the model does not define: JAX would ignore it silently."""
    unknown = sorted(policy.find_names() - set(tags))
    if unknown:
        has = ", ".join(tags) if tags else "none"
        raise CaseError(f"strategy {case.strategy!r}: {case.model} defines no tag {unknown[0]!r}: tags are {has}")
