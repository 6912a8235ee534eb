"""The sweep: visits in interleaved rounds, each record judged and stored before the next begins."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifex_bench import case as cases
from artifex_bench import store
from artifex_bench.case import Case
from artifex_bench.record import Record
from artifex_bench.remat.effect import judge
from artifex_bench.visit import Visit

Measure = Callable[[Visit, Path], Record]
Show = Callable[[Visit, Record | None], None]  # before a visit (None) and after it
CACHE, SCRATCH = "compile-cache", "scratch"


@dataclass(frozen=True)
class Request:
    """What a run was asked for: cases, rounds, and how each visit is made. Kept in the run's manifest."""

    suite: str
    cases: tuple[Case, ...]
    rounds: int = 2
    steps: int = 10
    timeout: float = 600.0
    memory_limit: int | None = None
    backend: str = "local"

    def visits(self, folder: Path) -> list[Visit]:
        """Every visit, in the order it is made: all cases, then all again (A B C A B C), so that drift hits all.

        What is only compiled is visited once: a second time would give the same.
        """
        how: dict[str, Any] = {
            "steps": self.steps,
            "timeout": self.timeout,
            "memory_limit": self.memory_limit,
            "cache": str((folder / CACHE).resolve()),
            "scratch": str((folder / SCRATCH).resolve()),
        }
        timed = [case for case in self.cases if cases.runs(case)]
        return [Visit(case, n, **how) for n in range(self.rounds) for case in (timed if n else self.cases)]


def to_json(request: Request) -> dict[str, Any]:
    """The request as plain JSON values."""
    return {**dataclasses.asdict(request), "cases": [cases.to_json(case) for case in request.cases]}


def from_json(data: dict[str, Any]) -> Request:
    """The request that `to_json` wrote."""
    return Request(**{**data, "cases": tuple(cases.from_json(case) for case in data["cases"])})


def sweep(request: Request, folder: Path, measure: Measure, show: Show) -> list[Record]:
    """Make every visit of the request that has no record yet; returns all records of the run.

    A case that did not end `ok` in one round is not visited again. Whatever interrupts the sweep, each record
    made so far is on disk, and the same call goes on where it was.
    """
    with store.locked(folder):
        store.repair(folder)
        done = {record.key: record for record in store.load(folder)}
        for visit in request.visits(folder):
            if visit.key in done or _fell(visit, done):
                continue
            show(visit, None)
            log = store.log_path(folder, visit.key)
            store.clear(folder / SCRATCH)
            record = measure(visit, log)
            record = judge(record, done.get((cases.case_id(cases.reference(visit.case)), visit.round)))
            store.append(folder, record)
            if record.status in ("ok", "skipped") and (cases.runs(visit.case) or not log.stat().st_size):
                log.unlink(missing_ok=True)  # what a compiler of another device says besides is kept
            done[record.key] = record
            show(visit, record)
        for left_over in (CACHE, SCRATCH):
            shutil.rmtree(folder / left_over, ignore_errors=True)
    return list(done.values())


def left(request: Request, folder: Path, records: Sequence[Record]) -> list[Visit]:
    """The visits that are still to be made."""
    done = {record.key: record for record in records}
    return [visit for visit in request.visits(folder) if visit.key not in done and not _fell(visit, done)]


def _fell(visit: Visit, done: dict[tuple[str, int], Record]) -> bool:
    name, number = visit.key
    return any((name, n) in done and done[name, n].status != "ok" for n in range(number))
