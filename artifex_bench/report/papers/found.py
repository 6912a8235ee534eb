"""One published number beside ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """`published` and `ours` in the claim's unit, for the shape that `where` says; `why` explains ours from parts."""

    where: str
    published: float
    ours: float
    why: str
