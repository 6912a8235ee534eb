"""From options to a spec: presets, grids, checks. Wrong use is found here, before anything is run. No JAX."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artifex_bench import models, suites, targets
from artifex_bench.checkpoint_io import formats
from artifex_bench.core import case as cases
from artifex_bench.core import run_spec, store, versions
from artifex_bench.core.case import LOCAL, Case, CaseError, RematCase
from artifex_bench.core.convert import shown
from artifex_bench.core.environments import changed_versions
from artifex_bench.core.run_spec import MAX_BATCH, PROFILE, RunSpec
from artifex_bench.execution.executors import load_executor
from artifex_bench.remat import strategies
from artifex_bench.sweep import scheduler
from artifex_bench.sweep.batch_search import Search

AXES = tuple(dict.fromkeys(axis for kind in cases.KINDS.values() for axis in cases.axes(kind) if axis != "compiler"))
HOW = ("rounds", "steps", "timeout", "memory_limit")  # options that say how each case is measured


def new_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """The folder made for a new run, and its spec. Raises CaseError or StoreError."""
    if options.get("across"):
        raise CaseError("--across goes with --resume: a new run has nothing to be mixed with")
    if options["suite"] is None:
        raise CaseError(f"name a suite to run: {', '.join(suites.SUITES)}")
    cases.check_choice("suite", options["suite"], suites.SUITES)
    suite: Any = suites.load(options["suite"])
    preset = options["preset"] or suite.DEFAULT
    cases.check_choice("preset", preset, suite.PRESETS)
    how = {**suite.SETTINGS[preset]}
    how |= {key: options[key] for key in HOW if options[key] is not None}
    spec = RunSpec(
        suite=options["suite"],
        cases=preset_cases(suite, preset, options),
        **how,
    )
    _check_installed(spec)
    return _folder(options, f"{options['suite']}-{preset}", spec), spec


def profile_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """The folder made for a profile, and its spec: one case, or two that differ in their strategy."""
    given = _remat_given(options, cases.axes(RematCase))
    for axis in given:
        values = options.get(axis)
        if axis != "strategy" and isinstance(values, list) and len(values) > 1:
            raise CaseError(f"{axis} {values}: a profile is of one case: give one value, or two of --strategy")
    found = tuple(dict.fromkeys(map(strategies.fit, cases.grid(RematCase, **given))))
    if found[0].target != LOCAL:
        raise CaseError(f"target {found[0].target!r}: a profile runs the case: it needs the device that is attached")
    if len(found) > 2:
        raise CaseError(f"strategy {given['strategy']}: a profile is of one strategy, or of two side by side")
    _check(found)
    how = {key: options[key] for key in HOW if options.get(key) is not None}
    spec = RunSpec(suite=PROFILE, cases=found, rounds=1, **{"steps": 3, **how})
    _check_installed(spec)
    return _folder(options, PROFILE, spec), spec


def max_batch_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """The folder made for searches for the largest batch that fits, and their spec: a case is where one begins."""
    search = Search(options["memory_budget"], options["multiple_of"], options["limit"])
    if search.limit < search.multiple:
        raise CaseError(f"limit {search.limit}: must be {search.multiple} or more, the first batch to be compiled")
    axes = {"strategy": ["none", "all"], **_remat_given(options, cases.axes(RematCase)), "batch": search.multiple}
    found = tuple(dict.fromkeys(map(strategies.fit, cases.grid(RematCase, **axes))))
    for case in found:
        if search.multiple % (ways := _ways(case)):
            raise CaseError(
                f"multiple of {search.multiple}: mesh {case.mesh!r} splits the batch: give --multiple-of {ways}"
            )
    _check(found)
    if search.memory_budget is None and any(map(cases.runs, found)):
        raise CaseError(f"target {LOCAL!r}: its capacity is not known: give --memory-budget, e.g. 8GiB")
    how = {"timeout": 1800.0, **{key: options[key] for key in HOW if options.get(key) is not None}}
    spec = RunSpec(suite=MAX_BATCH, cases=found, rounds=1, steps=0, search=search, **how)
    _check_installed(spec)
    return _folder(options, MAX_BATCH, spec), spec


def _folder(options: Mapping[str, Any], prefix: str, spec: RunSpec) -> Path:
    name = options["name"] or f"{prefix}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    folder = (options["out"] or Path("results")) / name
    if not cases.is_encodable(str(folder.resolve())):  # JAX takes no such path for its compile cache
        raise CaseError(f"folder {shown(str(folder))}: must be text in UTF-8: choose another --out or --name")
    if Path(name).name != name or name == ".." or len(name.encode()) > 255:
        raise CaseError(
            f"name {name!r}: must be a folder's name: no slashes, 255 bytes at most; --out says where it goes"
        )
    try:
        run_spec.from_json(run_spec.to_json(spec))
    except ValueError as error:  # which the run could not be gone on with
        raise CaseError(str(error)) from None
    store.create(folder, run_spec.to_json(spec))
    return folder


def resume_run(options: Mapping[str, Any]) -> tuple[Path, RunSpec]:
    """The folder and the spec of an earlier run; options that would change it are refused."""
    given = [key for key in (*AXES, "suite", "preset", *HOW, "out", "name") if options[key] is not None]
    if given or options["compiler_default"]:
        named = (given or ["compiler_default"])[0].replace("_", "-")
        option = "suite" if named == "suite" else f"--{named}"
        raise CaseError(f"--resume goes on with the run as it was asked for: give no {option} with it")
    folder: Path = options["resume"]
    spec = run_spec.load_run_spec(folder)
    load_executor(spec.executor)
    for case in spec.cases:
        _check([case]) if isinstance(case, RematCase) else formats.check(case)
    _check_installed(spec)
    if not options.get("across"):
        _check_versions(spec, folder)
    return folder, spec


def _check_versions(spec: RunSpec, folder: Path) -> None:
    """Raise CaseError where jobs are left and the versions are not those of the jobs before."""
    records = store.load(folder)
    changed = changed_versions(records) if scheduler.left(spec, folder, records) else {}
    if changed:
        told = ", ".join(f"{name} {then} (now {now})" for name, (then, now) in changed.items())
        way_out = f"install these, begin a new run, or mix both with --resume {folder} --across"
        raise CaseError(f"{folder} was measured with {told}: {way_out}")


def _check_installed(spec: RunSpec) -> None:
    if any(getattr(case, "remat3", "off") == "on" for case in spec.cases) and not versions.has_remat3():
        raise CaseError(f"remat3 'on': needs jax {versions.REMAT3_SINCE} or later: valid here is off")
    for target in dict.fromkeys(getattr(case, "target", LOCAL) for case in spec.cases):
        targets.check_installed(target)


def preset_cases(suite: Any, preset: str, options: Mapping[str, Any]) -> tuple[Case, ...]:
    """The cases of a preset's grids under the axes given by the user, checked, each group led by its reference."""
    kind = cases.KINDS[suite.KIND]
    given = _remat_given(options, AXES) if kind is RematCase else _given(options, AXES)
    for axis in given:
        if axis not in cases.axes(kind):
            raise CaseError(f"suite {options['suite']!r} has no axis {axis!r}: it has {', '.join(cases.axes(kind))}")
    grids = suite.PRESETS[preset]
    if kind is not RematCase:
        found = tuple(dict.fromkeys(case for point in grids for case in cases.grid(kind, **{**point, **given})))
        for case in found:
            formats.check(case)
        return found
    remat: list[RematCase] = []
    for point in _chosen(grids, given.get("model")):
        remat += (strategies.fit(case) for case in cases.grid(RematCase, **{**point, **given, "model": point["model"]}))
    _check(remat)
    return cases.with_references(remat)


def _given(options: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """The axes that the user set, as cases have them."""
    given: dict[str, Any] = {axis: options[axis] for axis in axes if options.get(axis) is not None}
    if options.get("compiler_default"):
        given["compiler"] = "default"
    if "target" in given:  # on a machine without an accelerator, what is attached is called cpu
        given["target"] = list(map(targets.parse_target, given["target"]))
    return given


def _remat_given(options: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """The axes of remat cases that the user set, JAX_REMAT3 in the environment among them."""
    given = _given(options, axes)
    if versions.chosen_remat3() == "on":
        given.setdefault("remat3", "on")
    return given


def _check(remat: Sequence[RematCase]) -> None:
    for case in remat:
        strategies.check(case)
        targets.check_devices(case)
        _check_mesh(case)
    for model in {case.model for case in remat if ":" in case.model}:
        models.load(model)


def _ways(case: RematCase) -> int:
    """How many parts the batch of a case is split into."""
    sizes = cases.mesh_axes(case.mesh)
    return sizes.get("data", 1) * sizes.get("fsdp", 1)


def _check_mesh(case: RematCase) -> None:
    """Raise CaseError unless the case can be split over its mesh, as far as that is known before it is built."""
    sizes, ways = cases.mesh_axes(case.mesh), _ways(case)
    if case.batch % ways:
        raise CaseError(f"batch {case.batch}: must be a multiple of {ways}, over which mesh {case.mesh!r} splits it")
    if sizes and strategies.parse(case.strategy, case.depth).budget is not None:
        raise CaseError(f"strategy {case.strategy!r}: plans for one device: leave the mesh out, or choose another")
    if "tensor" in sizes and ":" in case.model:
        models.tensor(case.model)


def _chosen(grids: tuple[dict[str, Any], ...], wanted: list[str] | None) -> list[dict[str, Any]]:
    """The grids of the wanted models; a model without a grid of its own takes the axes of the first."""
    if wanted is None:
        return list(grids)
    chosen = []
    for model in wanted:
        own = [grid for grid in grids if model in _models(grid)] or [grids[0]]
        chosen += [{**grid, "model": model} for grid in own]
    return chosen


def _models(grid: dict[str, Any]) -> tuple[str, ...]:
    return (grid["model"],) if isinstance(grid["model"], str) else grid["model"]
