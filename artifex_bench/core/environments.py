"""The settings of an environment that change what a case measures, and how those of two records differ. No JAX."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from artifex_bench.core.case import LOCAL
from artifex_bench.core.record import Record

COMPARED = ("python", "versions", "platform", "device", "devices", "cpu", "cores", "system", "flags")


def recorded_settings(records: Sequence[Record]) -> dict[str, str]:
    """{setting: value} of the records' environments, with every value where the records differ among themselves."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name in COMPARED if record.environment else ():
            value = record.environment.get(name)
            for key, item in value.items() if isinstance(value, Mapping) else (("", value),):
                if item == "":  # a variable that is set to nothing is not set
                    continue
                seen.setdefault(f"{name} {key}".strip(), set()).add(str(item))
    return {name: ", ".join(sorted(values)) for name, values in seen.items()}


def differing_settings(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The settings that differ: {name: (one's, the other's)}; empty where a side has none: nothing is known of it."""
    if not (one and other):  # no worker lived long enough to tell
        return {}
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return {name: (one.get(name, "nothing"), other.get(name, "nothing")) for name in names}


def changed_settings(records: Sequence[Record], record: Record) -> dict[str, tuple[str, str]]:
    """How the environment of a record differs from that of an earlier one that was measured in the same way.

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
    """The versions that any record was measured with and that are other ones now: {package: (then, now)}."""
    then: dict[str, set[str]] = {}
    for record in records:
        told = {"python": record.environment.get("python"), **record.environment.get("versions", {})}
        for name, version in told.items():
            if version is not None:
                then.setdefault(name, set()).add(str(version))
    now = {name: _installed(name) for name in then}
    return {name: (", ".join(sorted(seen)), now[name]) for name, seen in then.items() if seen != {now[name]}}


def _installed(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
