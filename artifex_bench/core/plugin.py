"""Objects of the user's own, named as ``package.module:attribute`` wherever a built-in name is accepted. No JAX."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from artifex_bench.core.case import CaseError
from artifex_bench.core.convert import suggest_choice
from artifex_bench.core.registry import load_attribute

Entry = TypeVar("Entry")


def load_entry(kind: str, name: str, entries: Mapping[str, Entry], entry_type: type[Entry]) -> Entry:
    """Return an entry of a registry, or one of the user's own.

    Args:
        kind: What the entry is, for error messages.
        name: A name in `entries`, or ``package.module:attribute``.
        entries: The registry.
        entry_type: The type of its entries.

    Raises:
        CaseError: There is no such entry, or the attribute is of another type.
    """
    if name in entries:
        return entries[name]
    if ":" not in name:
        raise CaseError(f"unknown {kind} {name!r}: {suggest_choice(name, [*entries, 'package.module:attribute'])}")
    entry = import_user_object(kind, name)
    if not isinstance(entry, entry_type):
        wanted = f"`{entry_type.__name__}` ({entry_type.__module__})"
        raise CaseError(f"{kind} {name!r}: is a {type(entry).__name__}: must be of type {wanted}")
    return entry


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
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module) or not attribute.isidentifier():
        raise CaseError(f"{kind} {name!r}: must be package.module:attribute")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return load_attribute(name)
    except ImportError as error:
        raise CaseError(f"{kind} {name!r}: cannot import {module!r} ({error}); is its folder on PYTHONPATH?") from error
    except (Exception, SystemExit) as error:  # the user's module may do anything while it is imported
        if isinstance(error, AttributeError) and module in sys.modules:
            raise CaseError(f"{kind} {name!r}: module {module!r} has no attribute {attribute!r}") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CaseError(f"{kind} {name!r}: importing {module!r} failed: {reason}") from error
