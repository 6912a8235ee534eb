"""Execution: EXECUTORS measure one job and give its record, whatever becomes of the process that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.execution import local


@dataclass(frozen=True)
class Executor:
    """`measure(job, log)`, from any thread; `log` is the file that keeps what the process prints. `stop()` ends the
    jobs that other threads have under way.
    """

    summary: str
    measure: Callable[[Job, Path], Record]
    stop: Callable[[], None] = lambda: None


EXECUTORS = {"local": Executor("a fresh process on this machine for every job", local.measure, local.stop)}
