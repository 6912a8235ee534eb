"""Execution: BACKENDS measure one visit and give its record, whatever becomes of the process that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from artifex_bench.core.job import Visit
from artifex_bench.core.record import Record
from artifex_bench.execution import local


@dataclass(frozen=True)
class Backend:
    """`measure(visit, log)`, from any thread; `log` is the file that keeps what the process prints. `stop()` ends the
    visits that other threads have under way.
    """

    summary: str
    measure: Callable[[Visit, Path], Record]
    stop: Callable[[], None] = lambda: None


BACKENDS = {"local": Backend("a fresh process on this machine for every visit", local.measure, local.stop)}
