"""Suites: named grids of cases, by preset. They are data, which the command, asv and pytest-benchmark share."""

from __future__ import annotations

import importlib
from typing import Any

SUITES = ("remat", "remat-absent", "chen", "papers", "checkpoint", "fault")


def load(name: str) -> Any:
    """The suite's module: it holds KIND (of its cases), PRESETS (name -> grids), SETTINGS and DEFAULT."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
