"""KINDS: name of a kind of case -> where its `Kind` is defined. Adding a kind is one module and one entry here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

KINDS = {
    "remat": "artifex_bench.kinds.remat:KIND",
    "checkpoint": "artifex_bench.kinds.checkpoint:KIND",
    "fault": "artifex_bench.kinds.fault:KIND",
}


def load_attribute(path: str) -> Any:
    """Return what ``package.module:attribute`` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@cache
def load_kind(name: str) -> Any:
    """Return the `Kind` (core/kind.py) of that name."""
    return load_attribute(KINDS[name])
