"""Suites: named sets of cases, in presets of different sizes. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Grids = tuple[Mapping[str, Any], ...]  # each: axis -> one value or several


@dataclass(frozen=True)
class Duration:
    """How long a preset took.

    Attributes:
        seconds: From the start of its first job to the end of its last.
        run: The committed run that took it, a folder of `results/`.
        where: The machine and the version of JAX.
    """

    seconds: float
    run: str
    where: str


@dataclass(frozen=True)
class Suite:
    """One named set of cases.

    Attributes:
        summary: What it measures, in one line.
        presets: Preset -> grids; every combination of a grid's values is a case.
        settings: Preset -> how each case is measured: `rounds`, `steps`, `timeout`.
        default: The preset that is run if none is named.
        sized: Preset -> platform of the device to whose memory depth and batch are sized.
    """

    summary: str
    presets: Mapping[str, Grids]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: str = "quick"
    sized: Mapping[str, str] = field(default_factory=dict)
