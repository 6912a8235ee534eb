"""EXECUTORS: name -> where jobs run. An executor is two functions, and the scheduler knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifex_bench.core.job import Job
from artifex_bench.core.plugin import load_entry
from artifex_bench.core.record import Record
from artifex_bench.execution import local


def _stop_nothing() -> None:
    """Stop no job: for executors whose jobs cannot be stopped early."""


def _probe_nothing() -> dict[str, Any]:
    """Return no environment: for executors that know it from records alone."""
    return {}


@dataclass(frozen=True)
class Executor:
    """Where jobs run.

    An executor for a cluster (Ray, Slurm) sends `core.job.job_to_json(job)` to a node, runs `execution.worker` or
    `execution.local.run_job` there, and sends the record back as `core.record.record_to_json`.

    Attributes:
        summary: One line for `artifex-bench list`.
        run: ``run(job, log)`` measures one job in a fresh process and returns its record.

            - The scheduler calls it from any thread, and from several threads at once for jobs that only compile.
            - It returns a record whatever happens to the job: a crash, a time limit or a lost node is a status with a
              reason, and measurements taken before it are kept. It raises only what interrupts it
              (`KeyboardInterrupt`), after ending its job.
            - `job.timeout` counts from the start of the process. Time spent in a queue does not count.
            - Nothing that the job started outlives the call.
            - The folders named in `job` (`cache`, `scratch`, `profile`) must exist for the process that measures. An
              executor on other machines replaces them by folders there, or needs a shared file system.
            - `log` is a file on this machine. After the call it holds everything that the process printed.
        stop: Ends all jobs that other threads have running, at once. Their `run` calls return records with status
            `failed`. It may be called more than once, and when no job is running.
        probe: Returns the environment of the processes that measure, before any of them does; empty if it is not
            known. Commands show it first.
    """

    summary: str
    run: Callable[[Job, Path], Record]
    stop: Callable[[], None] = _stop_nothing
    probe: Callable[[], dict[str, Any]] = _probe_nothing


EXECUTORS = {
    "local": Executor(
        "a fresh process on this machine for every job", local.run_job, local.kill_jobs, local.probe_environment
    )
}


def load_executor(name: str) -> Executor:
    """Return the executor of that name.

    Args:
        name: A name in EXECUTORS, or ``package.module:attribute`` for an `Executor` of the user's own.

    Raises:
        CaseError: There is no such executor, or the attribute is not an `Executor`.
    """
    return load_entry("executor", name, EXECUTORS, Executor)
