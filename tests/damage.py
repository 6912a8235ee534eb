"""JSON with one value changed, as an edit, a bug or a damaged disk may leave it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

OTHERS: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 1e300, 10**400, math.nan, -math.inf, "\ud800\x1b[31m\n", "", "text"),
    *([], [1], {}, {"a": 1}),
)
LEFT_OUT = object()


def places(data: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in JSON data: leaves, lists and objects."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (key,)
        yield from ((key, *rest) for rest in places(value))


def changed(data: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Yield (path, value, changed data) for every path and each of OTHERS. LEFT_OUT removes the value."""
    for path in places(data):
        for value in (*OTHERS, LEFT_OUT):
            whole = copy.deepcopy(data)
            inner = whole
            for key in path[:-1]:
                inner = inner[key]
            if value is LEFT_OUT:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            yield path, value, whole
