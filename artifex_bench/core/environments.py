"""Settings of an environment that may change a measurement, and how those of records differ. No JAX."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from artifex_bench.core.case import LOCAL
from artifex_bench.core.record import Record

COMPARED = ("python", "versions", "platform", "device", "devices", "cpu", "cores", "system", "flags")


def recorded_settings(records: Sequence[Record]) -> dict[str, str]:
    """Return {setting: value} of the records' environments. If the records differ, the value lists all values."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name in COMPARED if record.environment else ():
            value = record.environment.get(name)
            for key, item in value.items() if isinstance(value, Mapping) else (("", value),):
                if item == "":  # an empty variable counts as not set
                    continue
                seen.setdefault(f"{name} {key}".strip(), set()).add(str(item))
    return {name: ", ".join(sorted(values)) for name, values in seen.items()}


def differing_settings(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the settings that differ as {name: (in one, in the other)}; empty if a side has no settings at all."""
    if not (one and other):  # no worker of that side sent its environment
        return {}
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return {name: (one.get(name, "nothing"), other.get(name, "nothing")) for name in names}


def changed_settings(records: Sequence[Record], record: Record) -> dict[str, tuple[str, str]]:
    """Return how the environment of a record differs from that of an earlier, comparable one: {name: (then, now)}.

    Records are compared if they have one model, target and number of devices, which change the environment. A record
    that is not ok is not compared: its worker may have ended before it knew its environment.
    """
    alike = (other for other in records if other.status == "ok" and _comparable_key(other) == _comparable_key(record))
    before = next(alike, None) if record.status == "ok" else None
    return differing_settings(recorded_settings([before]), recorded_settings([record])) if before else {}


def _comparable_key(record: Record) -> tuple[Any, ...]:
    case: Any = record.case
    return getattr(case, "model", None), getattr(case, "target", LOCAL), getattr(case, "devices", 1)


def changed_versions(records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Return the packages whose installed version is not that of all records: {package: (then, now)}."""
    then: dict[str, set[str]] = {}
    for record in records:
        versions = {"python": record.environment.get("python"), **record.environment.get("versions", {})}
        for name, version in versions.items():
            if version is not None:
                then.setdefault(name, set()).add(str(version))
    now = {name: _installed_version(name) for name in then}
    return {name: (", ".join(sorted(seen)), now[name]) for name, seen in then.items() if seen != {now[name]}}


def _installed_version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
