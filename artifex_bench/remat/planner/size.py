"""How a budget is written: a share of what there is to gain, or bytes. Imports no JAX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.case import CaseError
from artifex_bench.core.units import LEAST_BARE_BYTES, parse_bytes


class BudgetError(CaseError):
    """A budget that cannot be, or that nothing fits: the message is one line."""


@dataclass(frozen=True)
class Budget:
    """Of the compiled peak: `fraction` of the way from the leanest plan to no rematerialization, or `bytes`."""

    text: str
    fraction: float | None = None
    bytes: int | None = None


def budget(given: Any) -> Budget:
    """The budget that a number or a text means: 0 … 1 is a fraction, more is bytes; 120MiB, 8GiB, 16GB.

    Raises BudgetError for anything else.
    """
    text = str(given).strip()
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    size = float(given) if number and given >= 0 else None if isinstance(given, bool) else parse_bytes(text)
    if size is None or not math.isfinite(size):
        raise BudgetError(
            f"budget {text!r}: must be a fraction from 0 to 1, or bytes such as 120MiB, 8GiB or 16000000000"
        )
    if size <= 1 and text[-1].isdigit():
        return Budget(text, fraction=size)
    if text[-1].isdigit() and size < LEAST_BARE_BYTES:  # 1.5 and 50 are meant as something else
        raise BudgetError(
            f"budget {text!r}: a fraction is 0 to 1; "
            f"bytes have a unit, such as 120MiB, or are {LEAST_BARE_BYTES} or more"
        )
    if not 1 <= size < 2**63:
        raise BudgetError(f"budget {text!r}: must be 1 byte or more, and less than 8 EiB")
    return Budget(text, bytes=int(size))


def readable(size: float) -> str:
    """In the unit that reads best."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.0f} B"
