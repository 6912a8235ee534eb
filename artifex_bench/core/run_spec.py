"""Run specs: everything that a run was asked for. Stored in its folder, to resume and report it. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from artifex_bench.core import store
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.convert import convert, to_plain
from artifex_bench.core.fields import Positive
from artifex_bench.core.job import Job

CACHE, SCRATCH = "compile-cache", "scratch"  # folders in the folder of a run that is in progress
MAX_BATCH, PROFILE = "max-batch", "profile"  # named as the suite in the run folders of these commands
REMAT_ONLY = (MAX_BATCH, PROFILE, "chen", "papers")  # suites whose reports need remat cases
RENAMED = {"remat-absent": "remat-aot"}  # suites: names of version 0.1, and today's


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """A search for the largest batch that fits.

    Attributes:
        memory_budget: Bytes, where that is less than the target's capacity (None: the capacity).
        multiple: Only multiples of this batch are compiled.
        limit: The largest batch that is compiled.
    """

    memory_budget: Positive | None = None
    multiple: Positive = 1
    limit: Positive = 2**20


class RunSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was asked for: its cases, and how each job is made.

    Attributes:
        suite: Name of the suite, or of the command that stands for one.
        cases: Cases of one kind. With a `search` they are where the searches begin.
        rounds: Fresh processes per case.
        steps: Timed steps per process; 0 compiles only.
        timeout: Seconds per job.
        memory_limit: Bytes of a job's process (None: no limit).
        executor: Where jobs run.
        search: The search for the largest batch; None for a sweep.
    """

    suite: str
    cases: tuple[Case, ...]
    rounds: Annotated[int, Meta(ge=1, le=10**6)] = 2
    steps: Annotated[int, Meta(ge=0, le=10**9)] = 10
    timeout: Annotated[float, Meta(ge=1e-3, le=1e9)] = 600.0
    memory_limit: Positive | None = None
    executor: str = "local"
    search: Search | None = None

    def __post_init__(self) -> None:
        kinds = dict.fromkeys(case.kind for case in self.cases)
        if len(kinds) != 1:
            raise CaseError(f"cases of {len(kinds)} kinds ({', '.join(kinds)}): a run needs cases of one kind")
        if self.suite in REMAT_ONLY and kinds.keys() != {"remat"}:
            raise CaseError(f"suite {self.suite!r}: must have remat cases, not {', '.join(kinds)} cases")
        if (self.suite == MAX_BATCH) != (self.search is not None):
            raise CaseError(f"suite {self.suite!r}: {MAX_BATCH} has a search, and no other suite has one")

    def make_jobs(self, folder: Path) -> list[Job]:
        """Return every job in the order in which it is run.

        The rounds are interleaved (A B C A B C), so that drift affects all cases. Cases that are only compiled come
        first, in one round, because a second compilation gives the same result.
        """
        compiled = [self.make_job(folder, case) for case in self.cases if not case.is_local]
        timed = [case for case in self.cases if case.is_local]
        return compiled + [self.make_job(folder, case, number) for number in range(self.rounds) for case in timed]

    def make_job(self, folder: Path, case: Case, number: int = 0) -> Job:
        """Return the job that measures a case in that round, in the run's folder."""
        return Job(
            case,
            number,
            steps=self.steps,
            timeout=self.timeout,
            memory_limit=self.memory_limit,
            cache=str((folder / CACHE).resolve()),
            scratch=str((folder / SCRATCH).resolve()),
        )


def run_spec_to_json(spec: RunSpec) -> dict[str, Any]:
    """Return the run spec as plain JSON values."""
    data: dict[str, Any] = to_plain(spec)
    return data


def run_spec_from_json(data: Mapping[str, Any]) -> RunSpec:
    """Return the run spec that `run_spec_to_json` wrote, in this version or in 0.1.

    Raises:
        ValueError: One line with the field, its value and the rule.
    """
    fields = dict(data)
    if "backend" in fields:
        fields["executor"] = fields.pop("backend")
    if isinstance(suite := fields.get("suite"), str):
        fields["suite"] = RENAMED.get(suite, suite)
    spec: RunSpec = convert(fields, RunSpec)
    return spec


def load_run_spec(folder: Path) -> RunSpec:
    """Return what the run in a folder was asked for.

    Raises:
        StoreError: The folder holds no run, or a damaged one.
    """
    try:
        return run_spec_from_json(store.read_manifest(folder))
    except ValueError as error:
        raise store.StoreError(f"cannot read {folder / store.MANIFEST}: {error}") from error
