"""The suites: what is measured, as named tuples of cases. Found by the command, asv and pytest alike."""

from __future__ import annotations

import importlib
from typing import Any

SUITES = ("remat", "remat-absent", "chen", "papers", "checkpoint", "fault")


def load(name: str) -> Any:
    """The suite's module: it holds KIND (of its cases), PRESETS (name -> grids), SETTINGS and DEFAULT."""
    return importlib.import_module(f"suites.{name.replace('-', '_')}")
