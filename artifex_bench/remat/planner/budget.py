"""The user's budget: a number of bytes, or a fraction of what there is to gain. Imports no JAX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.case import CaseError
from artifex_bench.core.units import LEAST_BARE_BYTES, parse_bytes


class BudgetError(CaseError):
    """A budget that is invalid or that no plan meets, or arguments that cannot be planned for, in one line."""


@dataclass(frozen=True)
class Budget:
    """A limit on the compiled peak.

    Attributes:
        text: The budget as the user wrote it.
        fraction: Position between the leanest plan (0) and no rematerialization (1), or None.
        bytes: Number of bytes, or None if the budget is a fraction.
    """

    text: str
    fraction: float | None = None
    bytes: int | None = None


def parse_budget(given: Any) -> Budget:
    """Parse a budget: a fraction from 0 to 1, or bytes such as ``120MiB``, ``8GiB``, ``16GB`` or 16000000000.

    Args:
        given: A number or a text.

    Returns:
        The budget, with its fraction or its bytes.

    Raises:
        BudgetError: It is neither a fraction nor a size.
    """
    text = str(given).strip()
    if isinstance(given, bool):
        size = None
    elif isinstance(given, (int, float)) and given >= 0:
        size = float(given)
    else:
        size = parse_bytes(text)
    if size is None or not math.isfinite(size):
        raise BudgetError(
            f"budget {text!r}: must be a fraction from 0 to 1, or bytes such as 120MiB, 8GiB or 16000000000"
        )
    if size <= 1 and text[-1].isdigit():
        return Budget(text, fraction=size)
    if text[-1].isdigit() and size < LEAST_BARE_BYTES:  # 1.5 and 50 are mistakes: a percentage, or a missing unit
        raise BudgetError(
            f"budget {text!r}: a fraction must be from 0 to 1, and bytes need a unit, such as 120MiB, "
            f"or must be {LEAST_BARE_BYTES} or more"
        )
    if not 1 <= size < 2**63:
        raise BudgetError(f"budget {text!r}: must be 1 byte or more, and less than 8 EiB")
    return Budget(text, bytes=int(size))


def format_bytes(size: float) -> str:
    """Format bytes with four significant digits, such as ``68.81 MiB``.

    `core.units.format_bytes` shows three digits, too few to tell a budget from a peak just above it.
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.0f} B"
