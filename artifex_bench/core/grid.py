"""Grids: every combination of the values of axes, as cases. No JAX."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

from artifex_bench.core.case import Case, CaseError, check_choice
from artifex_bench.core.fields import axis_names

C = TypeVar("C", bound=Case)


def expand_grid(kind: type[C], **values: Any) -> tuple[C, ...]:
    """Return every combination of the given axes, the last axis varying fastest; equal cases once.

    Args:
        kind: The type of the cases.
        **values: For each axis one value or a list of them. Other axes keep their default.

    Raises:
        CaseError: An axis is unknown, a list is empty, or a value is invalid.
    """
    for axis in values:
        check_choice("axis", axis, axis_names(kind))
    lists = {axis: as_list(axis, value) for axis, value in values.items()}
    cases = (kind(**dict(zip(lists, point, strict=True))) for point in itertools.product(*lists.values()))
    return tuple(dict.fromkeys(cases))


def as_list(axis: str, value: Any) -> list[Any]:
    """Return a value, or a list of them, as a list. Raises CaseError if it is empty."""
    items = list(value) if isinstance(value, (list, tuple, range)) else [value]
    if not items:
        raise CaseError(f"axis {axis!r} is empty: give at least one value")
    return items


def with_baselines(cases: Sequence[C]) -> tuple[C, ...]:
    """Return the cases, with the baseline of each group before it."""
    return tuple(dict.fromkeys(one for case in cases for one in (case.baseline, case)))
