"""JSON values as structs, checked by the types of their fields (msgspec); an error is one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import inspect

NEAR = 0.8  # share of equal letters, in order: one or two typos in a word of ten letters
EXPECTED = re.compile(r"Expected (.*?)(?:, got `\w+`)?$")
WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "null": "null"}
WORDS |= {"object": "an object", "array": "a list"}


class ConvertError(ValueError):
    """A value that a field cannot have. The message is one line with its place, the value and the rule."""


def convert(data: Any, kind: Any, place: str = "") -> Any:
    """Return what JSON holds as a value of type `kind`.

    Args:
        data: A value that a JSON parser returns.
        kind: A struct, or another type that msgspec knows. Fields of the type `Case` may hold any kind of case.
        place: Where the value stands, for the message: ``measurements[2].detail``.

    Raises:
        ConvertError: A value has the wrong type or is out of range, or a field is missing or unknown.
    """
    try:
        return msgspec.convert(data, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConvertError(_format_error(error, data, place)) from None


def _decode(kind: Any, data: Any) -> Any:
    """Return a value of a type that msgspec does not know: `Case`, which stands for every kind."""
    return kind.decode(data)


def _format_error(error: msgspec.ValidationError, data: Any, place: str) -> str:
    message, _, path = str(error).partition(" - at `$")
    path = path.removesuffix("`")
    where = f"{place}{path}" if place else path.removeprefix(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        return f"{where}.{unknown[1]}: unknown field".removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{where}.{missing[1]}: is missing".removeprefix(".")
    if message.startswith("Invalid ") or message == "Number out of range" or EXPECTED.match(message):
        value = _value_at(data, path)
        shows = "" if value is _UNKNOWN else f" {show_value(value)}"
        return f"{where}{shows}: {_format_rule(message)}".strip()
    return f"{where}: {message}" if where else message  # raised by the struct itself


_UNKNOWN = object()


def _value_at(data: Any, path: str) -> Any:
    """Return the value at a path such as ``.measurements[2].values``; _UNKNOWN if it has a key ``[...]``."""
    for name, index in re.findall(r"\.(\w+)|\[([^]]*)\]", path):
        try:
            data = data[name] if name else data[int(index)]
        except (LookupError, TypeError, ValueError):
            return _UNKNOWN
    return data


def _format_rule(message: str) -> str:
    if (expected := EXPECTED.match(message)) is None:
        return "must be one of the valid values" if message.startswith("Invalid ") else "is out of range"
    words = re.sub(r"`([^`]+)`", lambda found: " or ".join(map(_word, found[1].split(" | "))), expected[1])
    if bound := re.fullmatch(r"(.*) (>=|<=) (\S+)", words):
        number = int(bound[3]) if bound[3].lstrip("-").isdigit() else float(bound[3])
        words = describe_range(bound[1], *((number, None) if bound[2] == ">=" else (None, number)))
    return f"must be {words}"


def _word(name: str) -> str:
    return WORDS.get(name, name)


def to_plain(struct: Any) -> Any:
    """Return a struct as plain JSON values, numpy's numbers as Python's."""
    return msgspec.to_builtins(struct, enc_hook=lambda number: number.item())


def check_value(name: str, value: Any, kind: Any) -> None:
    """Raise ConvertError, with the value and the rule, unless `value` is of type `kind`.

    A value outside a set of choices gets the nearest one.
    """
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        info = plain_type(inspect.type_info(kind))
        if isinstance(info, inspect.LiteralType):
            raise ConvertError(
                f"unknown {name} {show_value(value)}: {suggest_choice(value, list(map(str, info.values)))}"
            ) from None
        if isinstance(value, int) and value >= 2**63:
            raise ConvertError(f"{name} {show_value(value)}: must be less than 2**63") from None
        raise ConvertError(f"{name} {show_value(value)}: must be {describe_type(info)}") from None


def plain_type(info: Any) -> Any:
    """Return a type of msgspec's without its metadata, and without None as another choice."""
    if isinstance(info, inspect.Metadata):
        return plain_type(info.type)
    if isinstance(info, inspect.UnionType):
        return plain_type(next(one for one in info.types if not isinstance(one, inspect.NoneType)))
    return info


def describe_type(info: Any) -> str:
    """Return a type in words: ``a whole number from 0 to 10``."""
    name = type(info).__name__.removesuffix("Type").lower()
    least, most = getattr(info, "ge", None), getattr(info, "le", None)
    return describe_range(_word(name), least, None if most is None or most >= 2**63 - 1 else most)


def describe_range(words: str, least: float | None, most: float | None) -> str:
    """Return a rule for numbers: ``a whole number of 1 or more``, ``a number from 0 to 10``. None is no bound."""
    low, high = (str(bound) if isinstance(bound, int) else f"{bound:.15g}" for bound in (least or 0, most or 0))
    if least is None:
        return words if most is None else f"{words} of at most {high}"
    return f"{words} of {low} or more" if most is None else f"{words} from {low} to {high}"


def show_value(value: Any) -> str:
    """Return a value as a message shows it: short, and on one line."""
    try:
        words = repr(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        words = "a number of thousands of digits"
    return words if len(words) <= 60 else f"{words[:57]}..."


def is_encodable(name: str) -> bool:
    """Return whether a name is text that a file can hold: one half of a surrogate pair is not."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def suggest_choice(value: Any, valid: Collection[str]) -> str:
    """Return the nearest valid choice as a question, or all of them if none is near.

    Names with other numbers are not near: nobody types tpu:v9 for tpu:v4.
    """
    text = str(value)
    alike = [one for one in valid if re.findall(r"\d+", one) == re.findall(r"\d+", text) and one != text]
    near = difflib.get_close_matches(text, alike, 1, NEAR)
    return f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(valid)}"
