"""A job: one case to be measured once in a process of its own, and how. No JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from artifex_bench.core import case as cases
from artifex_bench.core.case import Case, RematCase
from artifex_bench.core.convert import convert

WHOLE, SEARCH, REST = "whole", "search", "rest"


@dataclass(frozen=True)
class Job:
    """`steps` timed steps; `timeout` in seconds; `memory_limit` in bytes of process memory (None: no limit).

    Round 0 also checks gradients and splits the time; later rounds only repeat the timing. `cache` is the folder
    of the compile cache that the rounds share (None: no cache), `scratch` the one for files that are written to be
    measured (None: the system's own). `profile` is the folder that a profile's trace goes to (None: no profile, the
    case is measured). `part` is what a process does of it: see `parts`.
    """

    case: Case
    round: int = 0
    steps: int = 10
    timeout: float = 600.0
    memory_limit: int | None = None
    cache: str | None = None
    scratch: str | None = None
    profile: str | None = None
    part: str = WHOLE

    @property
    def key(self) -> tuple[str, int]:
        """The key of the record that this job will give."""
        return cases.case_id(self.case), self.round


def parts(job: Job) -> tuple[Job, ...]:
    """What is done of the job in a fresh process each, one after the other. The search for a budget runs programs,
    and what is resident after them would count in no peak: it is a part of its own, and leaves its choice in the cache.
    """
    case = job.case
    searched = isinstance(case, RematCase) and case.strategy.startswith("budget-") and case.target == cases.LOCAL
    if searched and job.steps > 0 and job.profile is None and job.round == 0 and job.cache is not None:
        return replace(job, part=SEARCH), replace(job, part=REST)
    return (job,)


def to_json(job: Job) -> dict[str, Any]:
    """The job as plain JSON values."""
    return {**dataclasses.asdict(job), "case": cases.to_json(job.case)}


def from_json(data: Mapping[str, Any]) -> Job:
    """The job that `to_json` wrote."""
    job: Job = convert(data, Job)
    return job
