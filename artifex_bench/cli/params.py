"""Types of command-line options."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from artifex_bench.core.units import LEAST_BARE_BYTES, parse_bytes


class Listed(click.ParamType):
    """Values separated by commas."""

    name = "LIST"

    def __init__(self, kind: type | click.ParamType = str):
        self.kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> list[Any]:
        items = [item.strip() for item in str(value).split(",")]
        if not all(items):
            self.fail(f"{value!r}: an empty entry; write values separated by single commas", param, ctx)
        if isinstance(self.kind, click.ParamType):
            return [self.kind.convert(item, param, ctx) for item in items]
        try:
            return [self.kind(item) for item in items]
        except ValueError:
            self.fail(f"{value!r}: must be whole numbers separated by commas", param, ctx)


class Bytes(click.ParamType):
    """A size: 8GiB, 512MiB, 16GB, or bytes. A number without a unit is `least` or more: 45 of memory means GiB."""

    name = "SIZE"

    def __init__(self, least: int = 1):
        self.least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        size = parse_bytes(str(value))
        if size is None or not 1 <= size < 2**63:  # more than the system can count
            self.fail(f"{value!r}: must be a size such as 8GiB, 512MiB or 16GB", param, ctx)
        if size < self.least and str(value).strip()[-1].isdigit():
            self.fail(f"{value!r}: bytes have a unit, such as 8GiB, or are {self.least} or more", param, ctx)
        return int(size)


class Number(click.ParamType):
    """A number more than zero and not endless, with one of some units behind it; a bare number is of the first."""

    def __init__(self, name: str, what: str, units: dict[str, float]):
        self.name, self._what, self._units = name, what, units

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        text = str(value).strip()
        unit = next((unit for unit in sorted(self._units, key=len, reverse=True) if text.endswith(unit)), "")
        try:
            found = float(text.removesuffix(unit)) * self._units[unit or next(iter(self._units))]
        except ValueError:
            found = math.nan
        if not 0 < found < math.inf:
            self.fail(f"{value!r}: must be {self._what}, more than 0", param, ctx)
        return found


class Threshold(click.ParamType):
    """The change of a quantity that matters: step_seconds=0.2."""

    name = "QUANTITY=SHARE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        name, _, share = str(value).partition("=")
        try:
            found = float(share)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf:
            self.fail(f"{value!r}: must be a quantity and a share of 0 or more, such as step_seconds=0.2", param, ctx)
        return name, found


class Picture(click.Path):
    """A file to draw into."""

    kinds = (".png", ".svg", ".pdf")

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if Path(value).suffix not in self.kinds:
            self.fail(f"{str(value)!r}: must end in {', '.join(self.kinds)}", param, ctx)
        return super().convert(value, param, ctx)


MEMORY = Bytes(LEAST_BARE_BYTES)
SECONDS = Number("SECONDS", "seconds, or a time such as 30min or 4h", {"s": 1, "min": 60, "h": 3600})
MULTIPLE = Number("MULTIPLE", "a multiple such as 1.1x", {"x": 1})
