"""What a page says about its run: facts, the command that repeats it, settings and environment."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import LOCAL, Case, CaseError
from artifex_bench.core.fields import axis_names
from artifex_bench.core.grid import expand_grid
from artifex_bench.core.kind import Kind
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import RunSpec, Search
from artifex_bench.core.suite import Grids


def describe_run(records: Sequence[Record], table: pd.DataFrame) -> list[str]:
    """Return what a run is, in a few words each: cases, rounds, device, dates."""
    counts = ", ".join(f"{count} {status}" for status, count in table.status.value_counts().items())
    rounds = int(table.rounds.max())
    days = sorted({record.started_at[:10] for record in records if record.started_at})
    facts = [
        f"{len(table)} case{'s' if len(table) > 1 else ''} ({counts})",
        f"{rounds} round{'s' if rounds > 1 else ''}",
        *(_list_targets(table) or dict.fromkeys(str(r.environment.get("device", "")) for r in records)),
        *([" to ".join(dict.fromkeys((days[0], days[-1])))] if days else []),
    ]
    return list(filter(None, facts))


def _list_targets(table: pd.DataFrame) -> list[str]:
    """The AOT targets that cases were compiled for; empty if cases ran on the local device."""
    targets = list(dict.fromkeys(table.target)) if "target" in table else []
    return [f"compiled for {', '.join(targets)}"] if targets and LOCAL not in targets else []


def describe_environment(records: Sequence[Record]) -> dict[str, str]:
    """Return each setting in words; several where records differ. Load is left out, because it always differs."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.environment.items():
            for name, one in value.items() if isinstance(value, Mapping) else ((key.replace("_", " "), value),):
                words = units.format_bytes(one) if key == "memory_bytes" else str(one)
                seen.setdefault(name.removesuffix(" bytes"), {})[words] = None
    found = {name: "; ".join(values) for name, values in seen.items() if name != "load"}
    return found if "commit" in found else {**found, "commit": "not recorded"}


def describe_settings(spec: RunSpec) -> dict[str, str]:
    """Return the settings of a run by name."""
    settings: dict[str, Any] = {"suite": spec.suite, "executor": spec.executor}
    if spec.search is None:
        settings |= {"rounds": spec.rounds, "timed steps per round": spec.steps}
    settings |= {"time limit per measurement": units.format_seconds(spec.timeout)}
    limits = {"memory limit of a process": spec.memory_limit}
    if spec.search is not None:
        limits |= {"memory budget of the search": spec.search.memory_budget}
        settings |= {"batches are multiples of": spec.search.multiple, "largest batch compiled": spec.search.limit}
    settings |= {name: units.format_bytes(size) for name, size in limits.items() if size is not None}
    return {name: str(value) for name, value in settings.items()}


def describe_command(spec: RunSpec) -> str | None:
    """Return a command that measures the cases of a run with its settings.

    Runs do not record their command line. This one is made from the run spec: a preset with these cases, or one grid
    with them.

    Returns:
        The command, or None if neither a preset nor a grid has exactly these cases.
    """
    options = _describe_sweep(spec) if spec.search is None else _describe_search(spec, spec.search)
    if options is None:
        return None
    options += ["--timeout", f"{spec.timeout:g}"]
    options += ["--memory-limit", f"{spec.memory_limit}B"] if spec.memory_limit else []
    return shlex.join(["artifex-bench", *options])


def _describe_sweep(spec: RunSpec) -> list[str] | None:
    kind = load_kind(spec.cases[0].kind)
    if spec.suite not in kind.suites:
        return None
    suite, cases = kind.suites[spec.suite], set(spec.cases)
    preset = next((name for name, grids in suite.presets.items() if _expand(kind, grids) == cases), None)
    given = {} if preset else _list_axes(spec)
    if not preset and _expand(kind, suite.presets[suite.default], given) != cases:
        return None
    options = ["--preset", preset] if preset else list(_list_options(given))
    return ["run", spec.suite, *options, "--rounds", str(spec.rounds), "--steps", str(spec.steps)]


def _describe_search(spec: RunSpec, search: Search) -> list[str] | None:
    given = {axis: values for axis, values in _list_axes(spec).items() if axis != "batch"}
    if set(expand_grid(type(spec.cases[0]), **given, batch=search.multiple)) != set(spec.cases):
        return None
    options = [*_list_options(given), "--multiple-of", str(search.multiple), "--limit", str(search.limit)]
    options += ["--memory-budget", f"{search.memory_budget}B"] if search.memory_budget else []
    return ["max-batch", *options]


def _list_axes(spec: RunSpec) -> dict[str, list[Any]]:
    """The values of each axis in a run; an axis that some cases lack is left out."""
    axes = axis_names(type(spec.cases[0]))
    values = {axis: list(dict.fromkeys(getattr(case, axis) for case in spec.cases)) for axis in axes}
    return {axis: found for axis, found in values.items() if None not in found}


def _expand(kind: Kind, grids: Grids, given: Mapping[str, Any] = MappingProxyType({})) -> set[Case]:
    try:
        return set(kind.expand(kind, grids, given))
    except CaseError:  # a preset for a device or a package that is not here
        return set()


def _list_options(values: Mapping[str, list[Any]]) -> Iterator[str]:
    for axis, found in values.items():
        name = axis.replace("_", "-")
        if isinstance(found[0], bool):
            yield from (f"--{name}" if switch else f"--no-{name}" for switch in found)
        elif axis == "mesh":
            yield from (word for mesh in found for word in ("--mesh", str(mesh)))
        else:
            yield from (f"--{name}", ",".join(map(str, found)))
