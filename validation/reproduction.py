"""One published number next to this tool's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reproduction:
    """A published number and this tool's number for one shape, both in the unit of the claim.

    Attributes:
        shape: Model, size and dtype that both numbers are about.
        published: The paper's number. For a formula, its value at this shape.
        ours: The number computed from the run's records.
        reason: Why the two numbers agree or differ, from measured parts.
    """

    shape: str
    published: float
    ours: float
    reason: str
