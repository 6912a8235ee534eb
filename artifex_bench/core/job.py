"""Jobs: one measurement of one case in a fresh process. What an executor runs. No JAX."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from artifex_bench.core.case import Case, RematCase, replace_fields
from artifex_bench.core.case_names import case_id
from artifex_bench.core.convert import convert, to_plain

WHOLE, SEARCH, REST = "whole", "search", "rest"
PROBE = "environment"  # a request to a worker, in place of a job: send the environment alone


class SkipJob(Exception):
    """The case cannot be measured here, and that is not a failure. Its record is `skipped`, with the reason."""


class Job(Struct, frozen=True, forbid_unknown_fields=True):
    """One measurement of one case.

    Round 0 also checks gradients and splits the time; later rounds only repeat the timing.

    Attributes:
        case: What is measured.
        round: Number of the round, from 0.
        steps: Timed steps; 0 compiles only.
        timeout: Seconds after which the process is killed.
        memory_limit: Bytes of process memory (None: no limit).
        cache: Folder of the compile cache that the rounds share (None: no cache).
        scratch: Folder for files that are written to be measured (None: the system's own).
        profile: Folder of a profile's trace (None: the case is measured, not profiled).
        part: What this process does of the job: see `split_job`.
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
        """The key of the record that this job gives."""
        return case_id(self.case), self.round


def split_job(job: Job) -> tuple[Job, ...]:
    """Return the parts of a job, each for a fresh process of its own, in order.

    The search for a budget runs programs, which would change the measured peak. It is therefore a part of its own, and
    leaves its choice in the compile cache.
    """
    case = job.case
    searches = isinstance(case, RematCase) and case.strategy.startswith("budget-") and case.is_local
    if searches and job.steps > 0 and job.profile is None and job.round == 0 and job.cache is not None:
        return replace_fields(job, part=SEARCH), replace_fields(job, part=REST)
    return (job,)


def job_to_json(job: Job) -> dict[str, Any]:
    """Return the job as plain JSON values."""
    data: dict[str, Any] = to_plain(job)
    return data


def job_from_json(data: Any) -> Job:
    """Return the job that `job_to_json` wrote."""
    job: Job = convert(data, Job)
    return job
