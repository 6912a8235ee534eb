"""The sweep: visits in interleaved rounds, each record judged and stored before the next begins."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from artifex_bench.core import case as cases
from artifex_bench.core import store
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.convert import Within, convert
from artifex_bench.core.environments import changed_settings
from artifex_bench.core.job import Visit
from artifex_bench.core.record import Record
from artifex_bench.remat.verdict import judge
from artifex_bench.sweep import batch_search
from artifex_bench.sweep.batch_search import Search

Measure = Callable[[Visit, Path], Record]
Show = Callable[[Visit, Record | None], None]  # before a visit (None) and after it
CACHE, SCRATCH = "compile-cache", "scratch"
MAX_BATCH, PROFILE = "max-batch", "profile"  # what stands for a suite in the folders of those commands
OF_REMAT = (MAX_BATCH, PROFILE, "chen", "papers")  # suites whose reports read what only remat cases have


@dataclass(frozen=True)
class Request:
    """What a run was asked for: cases, rounds, and how each visit is made. Kept in the run's manifest.

    With a `search` the cases are where searches for the largest batch begin.
    """

    suite: str
    cases: tuple[Case, ...]
    rounds: Annotated[int, Within(1, 10**6)] = 2
    steps: Annotated[int, Within(0, 10**9)] = 10
    timeout: Annotated[float, Within(1e-3, 1e9)] = 600.0
    memory_limit: Annotated[int, Within(1, 2**63 - 1)] | None = None
    backend: str = "local"
    search: Search | None = None

    def __post_init__(self) -> None:
        kinds = dict.fromkeys(case.kind for case in self.cases)
        if len(kinds) != 1:
            raise CaseError(f"cases of {len(kinds)} kinds ({', '.join(kinds)}): a run has cases, all of one kind")
        if self.suite in OF_REMAT and kinds.keys() != {"remat"}:
            raise CaseError(f"suite {self.suite!r}: has remat cases alone, no {', '.join(kinds)} cases")
        if (self.suite == MAX_BATCH) != (self.search is not None):
            raise CaseError(f"suite {self.suite!r}: {MAX_BATCH} has a search, and no other suite has one")

    def visits(self, folder: Path) -> list[Visit]:
        """Every visit, in the order it is made: all cases, then all again (A B C A B C), so that drift hits all.

        What is only compiled comes before them, once: a second time would give the same.
        """
        compiled = [self.visit(folder, case) for case in self.cases if not cases.runs(case)]
        timed = [case for case in self.cases if cases.runs(case)]
        return compiled + [self.visit(folder, case, number) for number in range(self.rounds) for case in timed]

    def visit(self, folder: Path, case: Case, number: int = 0) -> Visit:
        """A visit to a case, made in the way that was asked for."""
        return Visit(
            case,
            number,
            steps=self.steps,
            timeout=self.timeout,
            memory_limit=self.memory_limit,
            cache=str((folder / CACHE).resolve()),
            scratch=str((folder / SCRATCH).resolve()),
        )


def to_json(request: Request) -> dict[str, Any]:
    """The request as plain JSON values."""
    return {**dataclasses.asdict(request), "cases": [cases.to_json(case) for case in request.cases]}


def from_json(data: Mapping[str, Any]) -> Request:
    """The request that `to_json` wrote. Raises ValueError: one line with the field, its value and the rule."""
    request: Request = convert(data, Request)
    return request


def requested(folder: Path) -> Request:
    """What the run in a folder was asked for. Raises StoreError where the folder holds none, or a damaged one."""
    try:
        return from_json(store.manifest(folder))
    except ValueError as error:
        raise store.StoreError(f"cannot read {folder / store.MANIFEST}: {error}") from error


def sweep(
    request: Request,
    folder: Path,
    measure: Measure,
    show: Show,
    stop: Callable[[], None] = lambda: None,
    across: bool = False,
) -> list[Record]:
    """Make every visit of the request that has no record yet; returns all records of the run.

    A case that did not end `ok` in one round is not visited again. Whatever interrupts the sweep, each record
    made so far is on disk, and the same call goes on where it was. Visits that only compile are made over all cores
    at once, and `stop` ends those that are under way; timed ones are alone.

    Raises StoreError where the folder cannot be written, and CaseError where a run goes on in another environment than
    its records are from (other versions, another machine): one median would be of both. With `across` it is.
    """
    with store.locked(folder):
        store.repair(folder)
        before = store.load(folder)
        done = {record.key: record for record in before}

        def keep(visit: Visit, record: Record) -> None:
            record = judge(record, done.get((cases.case_id(cases.reference(visit.case)), visit.round)))
            _keep(folder, before, record, across)
            done[record.key] = record
            show(visit, record)

        visits = request.visits(folder)
        compiled = [visit for visit in visits if not cases.runs(visit.case) and visit.key not in done]
        with contextlib.closing(_together(compiled, folder, measure, stop)) as records:
            for visit in compiled:
                show(visit, None)
                keep(visit, next(records))
        for visit in visits:
            if visit.key in done or _fell(visit, done):
                continue
            show(visit, None)
            store.clear(folder / SCRATCH)
            keep(visit, _logged(visit, folder, measure))
        for left_over in (CACHE, SCRATCH):
            shutil.rmtree(folder / left_over, ignore_errors=True)
        store.check_whole(folder, len(done))
    return list(done.values())


def search(
    request: Request,
    folder: Path,
    measure: Measure,
    show: Callable[[Record], None],
    stop: Callable[[], None] = lambda: None,
    across: bool = False,
) -> list[Record]:
    """For each of the request's cases find the largest batch that fits; returns all records of the run.

    Each visit compiles the batch that those before it lead to. The searches go on side by side over the cores, but
    those for the attached device, which one process at a time may use, take turns. Whatever interrupts them, each
    record made so far is on disk, and the same call goes on where it was; `stop` ends the visits that are under way.

    Raises StoreError and CaseError as `sweep` does.
    """
    asked = request.search or Search()
    with store.locked(folder):
        store.repair(folder)
        before = store.load(folder)
        done = [*before]
        under_way: dict[Future[Record], Case] = {}
        with _threads(os.cpu_count(), stop) as anywhere, _threads(1, stop) as here:

            def go_on(start: Case) -> None:
                case = batch_search.follow(start, done, asked)
                if case is not None:
                    pool = here if cases.runs(case) else anywhere
                    under_way[pool.submit(_logged, request.visit(folder, case), folder, measure)] = start

            for start in request.cases:
                go_on(start)
            while under_way:
                for made in wait(under_way, return_when=FIRST_COMPLETED).done:
                    start, record = under_way.pop(made), batch_search.held_against(made.result(), asked.memory_budget)
                    _keep(folder, before, record, across)
                    done.append(record)
                    show(record)
                    go_on(start)
        shutil.rmtree(folder / CACHE, ignore_errors=True)
        store.check_whole(folder, len(done))
    return done


def _keep(folder: Path, before: Sequence[Record], record: Record, across: bool) -> None:
    """Store a record. Raises CaseError where it must not be mixed with those that its run had before it went on."""
    if not across and (found := changed_settings(before, record)):
        name, (then, now) = next(iter(found.items()))
        told = f"{folder} was measured with {name} {then}, and now it is {now}"
        raise CaseError(f"{told}: begin a new run, or mix both with --resume {folder} --across")
    store.append(folder, record)


def _logged(visit: Visit, folder: Path, measure: Measure) -> Record:
    """The record of a visit. Its log goes where it ended well, but for what the compiler of another device says."""
    log = store.log_path(folder, visit.key)
    record = measure(visit, log)
    if record.status in ("ok", "skipped") and (cases.runs(visit.case) or not log.stat().st_size):
        log.unlink(missing_ok=True)
    return record


def _together(
    visits: Sequence[Visit], folder: Path, measure: Measure, stop: Callable[[], None]
) -> Generator[Record, None, None]:
    """The records of visits that time nothing, in their order, a visit on each core."""
    with _threads(os.cpu_count(), stop) as pool:
        for made in [pool.submit(_logged, visit, folder, measure) for visit in visits]:
            yield made.result()


@contextlib.contextmanager
def _threads(count: int | None, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """So many threads that make visits; what interrupts them also ends the visits under way, by `stop`."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stop()
        raise
    finally:
        pool.shutdown()


def left(request: Request, folder: Path, records: Sequence[Record]) -> list[Visit]:
    """The visits that are still to be made; of a search the next, as those after it are not known."""
    if request.search is not None:
        following = (batch_search.follow(start, records, request.search) for start in request.cases)
        return [request.visit(folder, case) for case in following if case is not None]
    done = {record.key: record for record in records}
    return [visit for visit in request.visits(folder) if visit.key not in done and not _fell(visit, done)]


def _fell(visit: Visit, done: dict[tuple[str, int], Record]) -> bool:
    name, number = visit.key
    return any((name, n) in done and done[name, n].status != "ok" for n in range(number))
