"""KINDS: name of a kind of case -> where its `Kind` is defined. Adding a kind is one module and one entry here."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from typing import Any

from artifex_bench.core.case import CaseError

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


def import_user_object(kind: str, name: str) -> Any:
    """Import the object that ``package.module:attribute`` names.

    The current directory is searched as well, as `python script.py` would do.

    Args:
        kind: What the object is, for error messages: ``"executor"``, ``"format"``.
        name: The module and the attribute, separated by a colon.

    Returns:
        The attribute's value. Its type is not checked.

    Raises:
        CaseError: The module cannot be imported, or has no such attribute.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return load_attribute(name)
    except (ImportError, ValueError) as error:  # ValueError: an empty module name
        raise CaseError(f"{kind} {name!r}: cannot import {module!r} ({error}); is its folder on PYTHONPATH?") from error
    except AttributeError as error:
        raise CaseError(f"{kind} {name!r}: module {module!r} has no attribute {attribute!r}") from error
