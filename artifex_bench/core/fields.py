"""Fields of cases, records and run specs: the types that say which values are valid, and their metadata. No JAX."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

LARGEST = 1e30  # of any number: no step, state or device comes near, and sums of such numbers stay finite
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Dtype = Literal["float32", "bfloat16"]
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]
Difference = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]


def case_fields(kind: type[Any]) -> tuple[FieldInfo, ...]:
    """Return the fields of a kind of case, in order, with their types and defaults."""
    fields: tuple[FieldInfo, ...] = _case_fields(kind)  # type: ignore[arg-type,unused-ignore]
    return fields


@cache
def _case_fields(kind: Any) -> Any:
    return msgspec.structs.fields(kind)


def field_meta(field: FieldInfo) -> Meta:
    """Return the metadata of a case's field that describes it; empty if there is none."""
    metas = getattr(field.type, "__metadata__", ())
    return next((meta for meta in metas if meta.description), Meta())


def axis_names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of a kind of case, in order."""
    return tuple(field.name for field in case_fields(kind))
