"""Seconds and bytes as people read them. The only place where units change. MiB means 2**20."""

from __future__ import annotations

import re
from math import isnan
from typing import Any

ABSENT = "–"


def format_seconds(value: float | None) -> str:
    """Return a duration: 4.00 h, 12.3 min, 1.23 s, 12.3 ms, 45.6 µs."""
    if value is None or isnan(value):
        return ABSENT
    for unit, size, least in (("h", 3600.0, 3600.0), ("min", 60.0, 120.0), ("s", 1.0, 1.0), ("ms", 1e-3, 1e-3)):
        if abs(value) >= least:
            return f"{_three_digits(value / size)} {unit}"
    return f"{_three_digits(value / 1e-6)} µs"


def format_bytes(value: float | None) -> str:
    """Return bytes: 512 B, 1.50 KiB, 12.3 MiB, 4.00 GiB."""
    if value is None or isnan(value):
        return ABSENT
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(value) >= 1024**power:
            return f"{_three_digits(value / 1024**power)} {unit}"
    return f"{value:.0f} B"


def format_count(value: float | None) -> str:
    """Return a number: 12.3 k, 4.56 M, 7.89 G."""
    if value is None or isnan(value):
        return ABSENT
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{_three_digits(value / factor)}{unit}"
    return _three_digits(value)


def format_ratio(value: float | None) -> str:
    """Return a ratio: 1.00x."""
    return ABSENT if value is None or isnan(value) else f"{value:.2f}x"


def _three_digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}"


def format_share(value: float | None) -> str:
    """Return a share from 0 to 1: 12 %."""
    return ABSENT if value is None or isnan(value) else f"{value:.0%}"


def format_text(value: Any) -> str:
    """Return a value as text."""
    return str(value) if is_present(value) else ABSENT


def format_whole(value: float | None) -> str:
    """Return a whole number: 1234."""
    return ABSENT if value is None or isnan(value) else f"{value:.0f}"


def count_noun(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 round``, ``3 rounds``, ``2 searches``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def format_interval(low: float | None, high: float | None) -> str:
    """Return an interval: 0.95 … 1.05."""
    return f"{low:.2f} … {high:.2f}" if is_present(low) and is_present(high) else ABSENT


def is_present(value: Any) -> bool:
    """Return whether a cell of a table has a value: neither None nor NaN."""
    return value is not None and value == value


def choose_unit(quantity: str, largest: float) -> tuple[str, float]:
    """Return the unit of an axis that ends at `largest` ("seconds" or "bytes"), and its size. Others have no unit."""
    units = {
        "seconds": (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)),
        "bytes": (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)),
    }
    choices = units.get(quantity, (("", 1.0),))
    return next((choice for choice in choices if largest >= choice[1]), choices[-1])


LEAST_BARE_BYTES = 1024  # a smaller memory size needs a unit, because "45" means GiB
_BYTES = {"": 1, "B": 1}
_BYTES |= {f"{prefix}IB": 2 ** (10 * i) for i, prefix in enumerate("KMGT", 1)}
_BYTES |= {f"{prefix}B": 10 ** (3 * i) for i, prefix in enumerate("KMGT", 1)}


def parse_bytes(text: str) -> float | None:
    """Return the bytes that a size such as 8GiB, 16GB or 512 means, or None if it is not a size."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    unit = _BYTES.get(found[2].upper()) if found else None
    return float(found[1]) * unit if found and unit else None
