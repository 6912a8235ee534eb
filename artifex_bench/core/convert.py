"""JSON values as frozen dataclasses, checked by the types of their fields. Every run's file that is read comes through.

`convert` does what `msgspec.convert` does for structs, for the types that cases, records and requests are made of.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Union

SCALARS = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}
NEAR = 0.8  # of all letters are the same in both, in order: one or two wrong ones in a word of ten
UNITED = (Union, types.UnionType)


class ConvertError(ValueError):
    """A value that a field cannot have: one line with its place, the value, and the rule."""


@dataclasses.dataclass(frozen=True)
class Within:
    """The least and the most that a number may be: ``Annotated[float, Within(0, 1)]``."""

    least: float
    most: float


def convert(data: Any, kind: Any, place: str = "") -> Any:
    """What JSON says, as `kind`: a dataclass, a scalar, None, `tuple[X, ...]`, `Mapping[str, X]`, a union, or `Any`.

    Args:
        data: A value that `json.loads` may give.
        kind: The type that is wanted. Dataclasses in a union are told apart by their class variable `kind`.
        place: Where the value stands, for the message: ``measurements[2].values[0]``.

    Returns:
        The value; a list becomes a tuple. Numbers are finite, those within `Any` as well.

    Raises:
        ConvertError: where a value is not of its type, or a field is missing or unknown.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _finite(data, place)
    if kind in SCALARS:
        return _scalar(data, kind, place)
    if origin is Annotated:
        return _within(convert(data, parts[0], place), parts[1], place)
    if origin in UNITED:
        return _one_of(data, parts, place)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise _wrong(data, "a list", place)
        return tuple(convert(one, parts[0], f"{place}[{i}]") for i, one in enumerate(data))
    if not isinstance(data, Mapping):
        raise _wrong(data, "an object", place)
    if origin is not None:
        return {name: convert(one, parts[1], _joined(place, name)) for name, one in data.items()}
    return _made(data, kind, place)


def shown(value: Any) -> str:
    """A value in a message: short, and on one line."""
    try:
        words = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        words = "a number of thousands of digits"
    return words if len(words) <= 60 else f"{words[:57]}..."


def choices(value: Any, valid: Collection[str]) -> str:
    """The way out of a value that is not among the valid ones: the nearest of them, or all if none is near.

    Another number is no typing error: of tpu:v9 and tpu:v4 nobody means the other.
    """
    text = str(value)
    alike = [one for one in valid if re.findall(r"\d+", one) == re.findall(r"\d+", text) and one != text]
    near = difflib.get_close_matches(text, alike, 1, NEAR)
    return f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(valid)}"


def _scalar(data: Any, kind: type, place: str) -> Any:
    whole = isinstance(data, int) and not isinstance(data, bool)
    fits = whole if kind is int else whole or isinstance(data, float) if kind is float else isinstance(data, kind)
    if not fits or (kind is float and not _is_finite(data)):
        raise _wrong(data, SCALARS[kind], place)
    return data


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def _within(number: Any, bounds: Within, place: str) -> Any:
    if not bounds.least <= number <= bounds.most:
        raise _wrong(number, f"from {bounds.least:g} to {bounds.most:g}", place)
    return number


def _one_of(data: Any, kinds: tuple[Any, ...], place: str) -> Any:
    if data is None and types.NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    tagged = {kind.kind: kind for kind in kinds if hasattr(kind, "kind")}
    if tagged:
        return _tagged(data, tagged, place)
    (kind,) = kinds  # of scalars no union is needed
    return convert(data, kind, place)


def _tagged(data: Any, kinds: Mapping[str, Any], place: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(data, "an object", place)
    tag = data.get("kind")
    if not isinstance(tag, str) or tag not in kinds:
        raise _wrong(tag, f"one of {', '.join(kinds)}", _joined(place, "kind"))
    return convert({name: value for name, value in data.items() if name != "kind"}, kinds[tag], place)


def _made(data: Mapping[str, Any], kind: Any, place: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            raise ConvertError(f"{_joined(place, name)}: unknown field: {choices(name, fields)}")
    for name, field in fields.items():
        if name not in data and field.default is field.default_factory is dataclasses.MISSING:
            raise ConvertError(f"{_joined(place, name)}: is missing")
    values = {name: convert(one, _hints(kind)[name], _joined(place, name)) for name, one in data.items()}
    try:
        return kind(**values)
    except ValueError as error:  # a rule of its own
        raise ConvertError(f"{place}: {error}" if place else str(error)) from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if typing.get_origin(hint) is not ClassVar}


def _finite(data: Any, place: str) -> Any:
    if isinstance(data, Mapping):
        for name, one in data.items():
            _finite(one, _joined(place, name))
    elif isinstance(data, (list, tuple)):
        for i, one in enumerate(data):
            _finite(one, f"{place}[{i}]")
    elif isinstance(data, float) and not math.isfinite(data):
        raise _wrong(data, SCALARS[float], place)
    return data


def _joined(place: str, name: Any) -> str:
    name = name if isinstance(name, str) and name.isidentifier() else shown(name)
    return f"{place}.{name}" if place else name


def _wrong(value: Any, rule: str, place: str) -> ConvertError:
    return ConvertError(f"{place} {shown(value)}: must be {rule}".lstrip())
