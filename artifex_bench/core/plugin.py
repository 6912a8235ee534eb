"""Objects of the user's own, named as ``package.module:attribute`` wherever a built-in name is accepted. No JAX."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from artifex_bench.core.case import CaseError
from artifex_bench.core.registry import load_attribute


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
