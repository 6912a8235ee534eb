"""Run specs from options: presets, grids and checks. Invalid options are rejected before anything runs. No JAX."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifex_bench import models, targets
from artifex_bench.core import case as cases
from artifex_bench.core import store, versions
from artifex_bench.core.case import LOCAL, Case, CaseError, RematCase
from artifex_bench.core.convert import is_encodable, show_value
from artifex_bench.core.environments import changed_versions
from artifex_bench.core.fields import axis_names
from artifex_bench.core.grid import as_list, expand_grid
from artifex_bench.core.kind import Kind, all_suites, check_axes
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.core.run_spec import (
    MAX_BATCH,
    PROFILE,
    RENAMED,
    RunSpec,
    Search,
    load_run_spec,
    run_spec_from_json,
    run_spec_to_json,
)
from artifex_bench.core.suite import Suite
from artifex_bench.execution.executors import load_executor
from artifex_bench.kinds.remat_cases import batch_parts, check_remat_cases
from artifex_bench.sweep import scheduler
from artifex_bench.sweep.device_size import find_capacity, size_grids

HOW = ("rounds", "steps", "timeout", "memory_limit")  # options that say how each case is measured


def find_suite(name: str | None) -> tuple[Kind, Suite]:
    """Return the kind of a suite's cases, and the suite. Raises CaseError for an unknown name."""
    suites = all_suites()
    if name is None:
        raise CaseError(f"no suite is given: valid are {', '.join(suites)}")
    if name in RENAMED:
        raise CaseError(f"suite {name!r}: was renamed: use {RENAMED[name]!r}")
    cases.check_choice("suite", name, suites)
    return suites[name]


def new_run(name: str, options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """Create the folder of a new run.

    Args:
        name: Name of a suite.
        options: `preset`, those of HOW, `out`, `name`, and the axes of its cases. None counts as not set.

    Returns:
        The folder and the run spec.

    Raises:
        CaseError: A case is impossible.
        StoreError: The folder holds a run already, or cannot be written.
    """
    _, suite = find_suite(name)
    preset = suite.default if options.get("preset") is None else options["preset"]
    cases.check_choice("preset", preset, suite.presets)
    how = dict(suite.settings.get(preset, {})) | _given_settings(options)
    spec = RunSpec(name, expand_preset(name, preset, options), **how)
    _check_installed(spec)
    return _create_folder(options, f"{name}-{preset}", spec), spec


def expand_preset(name: str, preset: str, options: Mapping[str, Any]) -> tuple[Case, ...]:
    """Return the checked cases of a preset. The user's axes replace its own. Each group begins with its baseline.

    Raises:
        CaseError: A case is impossible, or a preset that is sized to a device finds none.
    """
    kind, suite = find_suite(name)
    given = _given_axes(kind, options)
    check_axes(kind, name, given)
    if preset not in suite.sized:
        return kind.expand(kind, suite.presets[preset], given)
    found: dict[Case, None] = {}
    for target in as_list("target", given.get("target", LOCAL)):
        capacity = find_capacity(preset, suite.sized[preset], target)
        grids = size_grids(suite.presets[preset], capacity, given)
        found |= dict.fromkeys(kind.expand(kind, grids, {**given, "target": target}))
    return tuple(found)


def profile_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """Create the folder of a profile: one case, or two that differ in their strategy. Returns it and the run spec."""
    given = _given_axes(load_kind("remat"), options)
    for axis in given:
        values = options.get(axis)
        if axis != "strategy" and isinstance(values, list) and len(values) > 1:
            raise CaseError(f"{axis} {values}: a profile has one case: give one value, or two of --strategy")
    found = tuple(dict.fromkeys(map(models.drop_unused_axes, expand_grid(RematCase, **given))))
    if not found[0].is_local:
        raise CaseError(f"target {found[0].target!r}: a profile runs the case: use the target {LOCAL!r}")
    if len(found) > 2:
        raise CaseError(f"strategy {given['strategy']}: a profile has one strategy or two: remove the others")
    check_remat_cases(found)
    spec = RunSpec(PROFILE, found, rounds=1, **{"steps": 3, **_given_settings(options)})
    _check_installed(spec)
    return _create_folder(options, PROFILE, spec), spec


def max_batch_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """Create the folder of searches for the largest batch. Returns it and the run spec. Each case begins a search."""
    search = Search(options["memory_budget"], options["multiple_of"], options["limit"])
    if search.limit < search.multiple:
        raise CaseError(f"limit {search.limit}: must be {search.multiple} or more, the batch that is compiled first")
    axes = {"strategy": ["none", "all"], **_given_axes(load_kind("remat"), options), "batch": search.multiple}
    found = tuple(dict.fromkeys(map(models.drop_unused_axes, expand_grid(RematCase, **axes))))
    for case in found:
        if search.multiple % (parts := batch_parts(case)):
            raise CaseError(
                f"multiple of {search.multiple}: mesh {case.mesh!r} splits the batch: give --multiple-of {parts}"
            )
    check_remat_cases(found)
    if search.memory_budget is None and any(case.is_local for case in found):
        raise CaseError(f"target {LOCAL!r}: its memory is not known: give --memory-budget, such as 8GiB")
    spec = RunSpec(MAX_BATCH, found, 1, 0, search=search, **{"timeout": 1800.0, **_given_settings(options)})
    _check_installed(spec)
    return _create_folder(options, MAX_BATCH, spec), spec


def resume_run(folder: Path, across: bool = False) -> RunSpec:
    """Return the spec of an earlier run, checked again.

    Args:
        folder: The run's folder.
        across: Whether to resume although versions have changed.

    Raises:
        CaseError: Its cases are not possible here, or versions have changed.
        StoreError: The folder holds no run, or a damaged one.
    """
    spec = load_run_spec(folder)
    load_executor(spec.executor)
    for case in spec.cases:
        load_kind(case.kind).check_case(case)
    _check_installed(spec)
    if not across:
        _check_versions(spec, folder)
    return spec


def _check_versions(spec: RunSpec, folder: Path) -> None:
    """Raise CaseError if jobs are left and installed versions differ from those of the records."""
    records = store.load_records(folder)
    changed = changed_versions(records) if scheduler.remaining_jobs(spec, folder, records) else {}
    if changed:
        words = ", ".join(f"{name} {then} (now {now})" for name, (then, now) in changed.items())
        way_out = f"install these, start a new run, or mix both with --resume {folder} --across"
        raise CaseError(f"{folder} was measured with {words}: {way_out}")


def _check_installed(spec: RunSpec) -> None:
    if any(getattr(case, "remat3", "off") == "on" for case in spec.cases) and not versions.has_remat3():
        raise CaseError(f"remat3 'on': needs jax {versions.REMAT3_SINCE} or later: use off")
    for target in dict.fromkeys(getattr(case, "target", LOCAL) for case in spec.cases):
        targets.check_installed(target)


def _create_folder(options: Mapping[str, Any], prefix: str, spec: RunSpec) -> Path:
    name = options.get("name") or f"{prefix}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    folder = (options.get("out") or Path("results")) / name
    if not is_encodable(str(folder.resolve())):  # JAX rejects such a path for its compile cache
        raise CaseError(f"folder {show_value(str(folder))}: must be text in UTF-8: choose another --out or --name")
    if Path(name).name != name or name == ".." or len(name.encode()) > 255:
        raise CaseError(
            f"name {name!r}: must be a folder's name without slashes, of at most 255 bytes: choose its place with --out"
        )
    try:
        run_spec_from_json(run_spec_to_json(spec))
    except ValueError as error:  # the run could not be resumed
        raise CaseError(str(error)) from None
    store.create_run(folder, run_spec_to_json(spec))
    return folder


def _given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in HOW if options.get(key) is not None}


def _given_axes(kind: Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes that the user set, as values of cases. For remat cases, JAX_REMAT3 in the environment is one."""
    every = dict.fromkeys(axis for name in KINDS for axis in axis_names(load_kind(name).case_type))
    given: dict[str, Any] = {axis: options[axis] for axis in every if options.get(axis) is not None}
    if options.get("compiler_default"):
        given["compiler"] = "default"
    if "target" in given:
        given["target"] = list(map(targets.parse_target, given["target"]))
    if kind.case_type is RematCase and versions.chosen_remat3() == "on":
        given.setdefault("remat3", "on")
    return given
