"""What a run was asked for: kept in its folder, so that the run can be resumed and reported. No JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from artifex_bench.core import case as cases
from artifex_bench.core import store
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.convert import Within, convert
from artifex_bench.core.job import Job

CACHE, SCRATCH = "compile-cache", "scratch"
MAX_BATCH, PROFILE = "max-batch", "profile"  # what stands for a suite in the folders of those commands
OF_REMAT = (MAX_BATCH, PROFILE, "chen", "papers")  # suites whose reports read what only remat cases have


@dataclass(frozen=True)
class Search:
    """`memory_budget` in bytes, where it is less than the target's capacity (None: that); batches are multiples of
    `multiple` up to `limit`.
    """

    memory_budget: Annotated[int, Within(1, 2**63 - 1)] | None = None
    multiple: Annotated[int, Within(1, 2**63 - 1)] = 1
    limit: Annotated[int, Within(1, 2**63 - 1)] = 2**20


@dataclass(frozen=True)
class RunSpec:
    """What a run was asked for: cases, rounds, and how each job is made. Kept in the run's manifest.

    With a `search` the cases are where searches for the largest batch begin.
    """

    suite: str
    cases: tuple[Case, ...]
    rounds: Annotated[int, Within(1, 10**6)] = 2
    steps: Annotated[int, Within(0, 10**9)] = 10
    timeout: Annotated[float, Within(1e-3, 1e9)] = 600.0
    memory_limit: Annotated[int, Within(1, 2**63 - 1)] | None = None
    executor: str = "local"
    search: Search | None = None

    def __post_init__(self) -> None:
        kinds = dict.fromkeys(case.kind for case in self.cases)
        if len(kinds) != 1:
            raise CaseError(f"cases of {len(kinds)} kinds ({', '.join(kinds)}): a run has cases, all of one kind")
        if self.suite in OF_REMAT and kinds.keys() != {"remat"}:
            raise CaseError(f"suite {self.suite!r}: has remat cases alone, no {', '.join(kinds)} cases")
        if (self.suite == MAX_BATCH) != (self.search is not None):
            raise CaseError(f"suite {self.suite!r}: {MAX_BATCH} has a search, and no other suite has one")

    def jobs(self, folder: Path) -> list[Job]:
        """Every job, in the order it is made: all cases, then all again (A B C A B C), so that drift hits all.

        What is only compiled comes before them, once: a second time would give the same.
        """
        compiled = [self.job(folder, case) for case in self.cases if not cases.runs(case)]
        timed = [case for case in self.cases if cases.runs(case)]
        return compiled + [self.job(folder, case, number) for number in range(self.rounds) for case in timed]

    def job(self, folder: Path, case: Case, number: int = 0) -> Job:
        """A job to a case, made in the way that was asked for."""
        return Job(
            case,
            number,
            steps=self.steps,
            timeout=self.timeout,
            memory_limit=self.memory_limit,
            cache=str((folder / CACHE).resolve()),
            scratch=str((folder / SCRATCH).resolve()),
        )


def to_json(spec: RunSpec) -> dict[str, Any]:
    """The spec as plain JSON values."""
    return {**dataclasses.asdict(spec), "cases": [cases.to_json(case) for case in spec.cases]}


def from_json(data: Mapping[str, Any]) -> RunSpec:
    """The spec that `to_json` wrote. Raises ValueError: one line with the field, its value and the rule."""
    fields = dict(data)
    if "backend" in fields:  # the executor's name in files of version 0.1
        fields["executor"] = fields.pop("backend")
    spec: RunSpec = convert(fields, RunSpec)
    return spec


def load_run_spec(folder: Path) -> RunSpec:
    """What the run in a folder was asked for. Raises StoreError where the folder holds none, or a damaged one."""
    try:
        return from_json(store.manifest(folder))
    except ValueError as error:
        raise store.StoreError(f"cannot read {folder / store.MANIFEST}: {error}") from error
