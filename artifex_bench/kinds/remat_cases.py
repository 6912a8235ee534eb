"""Cases of gradient checkpointing: which grids the user's axes select, and which cases are possible. No JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from artifex_bench import models, targets
from artifex_bench.core.case import CaseError, RematCase, mesh_axes
from artifex_bench.core.grid import expand_grid, with_baselines
from artifex_bench.core.suite import Grids
from artifex_bench.remat import case_checks, strategies


def expand_remat_grids(kind: Any, grids: Grids, given: Mapping[str, Any]) -> tuple[RematCase, ...]:
    """Return the checked cases of a preset's grids and the user's axes, each group led by its baseline.

    Raises:
        CaseError: A case is impossible.
    """
    cases: list[RematCase] = []
    for one in _grids_of_models(grids, given.get("model")):
        axes = {**one, **given, "model": one["model"]}
        cases += (models.drop_unused_axes(case) for case in expand_grid(RematCase, **axes))
    check_remat_cases(cases)
    return with_baselines(cases)


def check_remat_cases(cases: Sequence[RematCase]) -> None:
    """Raise CaseError for the first case that is impossible, as far as that is known before its model is built."""
    for case in cases:
        case_checks.check_case(case)
        targets.check_devices(case)
        _check_mesh(case)
    for model in {case.model for case in cases if ":" in case.model}:
        models.load_model(model)


def batch_parts(case: RematCase) -> int:
    """Return the number of parts that a case's mesh splits its batch into."""
    sizes = mesh_axes(case.mesh)
    return sizes.get("data", 1) * sizes.get("fsdp", 1)


def _check_mesh(case: RematCase) -> None:
    sizes, parts = mesh_axes(case.mesh), batch_parts(case)
    if case.batch % parts:
        raise CaseError(f"batch {case.batch}: must be a multiple of {parts}, over which mesh {case.mesh!r} splits it")
    if sizes and strategies.parse_strategy(case.strategy, case.depth).budget is not None:
        raise CaseError(f"strategy {case.strategy!r}: plans for one device: leave the mesh out, or choose another")
    if "tensor" in sizes and ":" in case.model:
        models.load_tensor_split(case.model)


def _grids_of_models(grids: Grids, wanted: list[str] | None) -> list[Mapping[str, Any]]:
    """The grids of the wanted models; a model without a grid of its own takes the axes of the first."""
    if wanted is None:
        return list(grids)
    chosen: list[Mapping[str, Any]] = []
    for model in wanted:
        own = [one for one in grids if model in _models(one)] or [grids[0]]
        chosen += [{**one, "model": model} for one in own]
    return chosen


def _models(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (one["model"],) if isinstance(one["model"], str) else one["model"]
