"""Names of cases: the id that records are stored under, and the label that people read. No JAX."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from artifex_bench.core.case import Case
from artifex_bench.core.fields import case_fields


def changed_fields(case: Case) -> dict[str, Any]:
    """Return the fields that differ from their default, in order."""
    fields = case_fields(type(case))
    return {field.name: value for field in fields if (value := getattr(case, field.name)) != field.default}


def case_id(case: Case) -> str:
    """Return a stable name, for example ``transformer.dots_saveable.1f0c9a2b``.

    It hashes only what differs from the defaults, so that a field added later leaves old names alone.
    """
    canonical = json.dumps(changed_fields(case), sort_keys=True)
    digest = hashlib.blake2b(canonical.encode(), digest_size=5).hexdigest()
    return ".".join([*(str(getattr(case, axis)) for axis in case.leading), digest])


def case_label(case: Case) -> str:
    """Return a case in words: ``transformer all depth=4 width=256 batch=8 dtype=bfloat16``, without other defaults."""
    shows = (*case.sizes, *(axis for axis in changed_fields(case) if axis not in (*case.leading, *case.sizes)))
    names = (str(getattr(case, axis)) for axis in case.leading)
    return " ".join([*names, *(f"{axis}={value}" for axis in shows if (value := getattr(case, axis)) is not None)])
