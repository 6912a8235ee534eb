"""The sweep: jobs in interleaved rounds, each record judged and stored before the next begins."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from artifex_bench.core import store
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.case_names import case_id
from artifex_bench.core.environments import changed_settings
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import CACHE, SCRATCH, RunSpec, Search
from artifex_bench.sweep import batch_search

Measure = Callable[[Job, Path], Record]
Show = Callable[[Job, Record | None], None]  # before a job (None) and after it


def run_sweep(
    spec: RunSpec,
    folder: Path,
    measure: Measure,
    show: Show,
    stop: Callable[[], None] = lambda: None,
    across: bool = False,
) -> list[Record]:
    """Make every job of the spec that has no record yet; returns all records of the run.

    A case that did not end `ok` in one round is not measured again. Whatever interrupts the sweep, each record
    made so far is on disk, and the same call goes on where it was. Jobs that only compile are made over all cores
    at once, and `stop` ends those that are under way; timed ones are alone.

    Raises StoreError where the folder cannot be written, and CaseError where a run goes on in another environment than
    its records are from (other versions, another machine): one median would be of both. With `across` it is.
    """
    with store.lock_run(folder):
        store.cut_torn_line(folder)
        before = store.load_records(folder)
        done = {record.key: record for record in before}

        def keep(job: Job, record: Record) -> None:
            baseline = done.get((case_id(job.case.baseline), job.round))
            record = load_kind(job.case.kind).judge(record, baseline)
            _keep(folder, before, record, across)
            done[record.key] = record
            show(job, record)

        jobs = spec.jobs(folder)
        compiled = [job for job in jobs if not job.case.is_local and job.key not in done]
        with contextlib.closing(_together(compiled, folder, measure, stop)) as records:
            for job in compiled:
                show(job, None)
                keep(job, next(records))
        for job in jobs:
            if job.key in done or _has_failed(job, done):
                continue
            show(job, None)
            store.clear_folder(folder / SCRATCH)
            keep(job, _logged(job, folder, measure))
        for left_over in (CACHE, SCRATCH):
            shutil.rmtree(folder / left_over, ignore_errors=True)
        store.check_complete(folder, len(done))
    return list(done.values())


def run_search(
    spec: RunSpec,
    folder: Path,
    measure: Measure,
    show: Callable[[Record], None],
    stop: Callable[[], None] = lambda: None,
    across: bool = False,
) -> list[Record]:
    """For each of the spec's cases find the largest batch that fits; returns all records of the run.

    Each job compiles the batch that those before it lead to. The searches go on side by side over the cores, but
    those for the attached device, which one process at a time may use, take turns. Whatever interrupts them, each
    record made so far is on disk, and the same call goes on where it was; `stop` ends the jobs that are under way.

    Raises StoreError and CaseError as `run_sweep` does.
    """
    asked = spec.search or Search()
    with store.lock_run(folder):
        store.cut_torn_line(folder)
        before = store.load_records(folder)
        done = [*before]
        under_way: dict[Future[Record], Case] = {}
        with _threads(os.cpu_count(), stop) as anywhere, _threads(1, stop) as here:

            def go_on(start: Case) -> None:
                case = batch_search.next_case(start, done, asked)
                if case is not None:
                    pool = here if case.is_local else anywhere
                    under_way[pool.submit(_logged, spec.job(folder, case), folder, measure)] = start

            for start in spec.cases:
                go_on(start)
            while under_way:
                for made in wait(under_way, return_when=FIRST_COMPLETED).done:
                    start, record = (
                        under_way.pop(made),
                        batch_search.apply_memory_budget(made.result(), asked.memory_budget),
                    )
                    _keep(folder, before, record, across)
                    done.append(record)
                    show(record)
                    go_on(start)
        shutil.rmtree(folder / CACHE, ignore_errors=True)
        store.check_complete(folder, len(done))
    return done


def _keep(folder: Path, before: Sequence[Record], record: Record, across: bool) -> None:
    """Store a record. Raises CaseError where it must not be mixed with those that its run had before it went on."""
    if not across and (found := changed_settings(before, record)):
        name, (then, now) = next(iter(found.items()))
        told = f"{folder} was measured with {name} {then}, and now it is {now}"
        raise CaseError(f"{told}: begin a new run, or mix both with --resume {folder} --across")
    store.append_record(folder, record)


def _logged(job: Job, folder: Path, measure: Measure) -> Record:
    """The record of a job. Its log goes where it ended well, but for what the compiler of another device says."""
    log = store.create_log(folder, job.key)
    record = measure(job, log)
    if record.status in ("ok", "skipped") and (job.case.is_local or not log.stat().st_size):
        log.unlink(missing_ok=True)
    return record


def _together(
    jobs: Sequence[Job], folder: Path, measure: Measure, stop: Callable[[], None]
) -> Generator[Record, None, None]:
    """The records of jobs that time nothing, in their order, a job on each core."""
    with _threads(os.cpu_count(), stop) as pool:
        for made in [pool.submit(_logged, job, folder, measure) for job in jobs]:
            yield made.result()


@contextlib.contextmanager
def _threads(count: int | None, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """So many threads that make jobs; what interrupts them also ends the jobs under way, by `stop`."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stop()
        raise
    finally:
        pool.shutdown()


def remaining_jobs(spec: RunSpec, folder: Path, records: Sequence[Record]) -> list[Job]:
    """The jobs that are still to be made; of a search the next, as those after it are not known."""
    if spec.search is not None:
        following = (batch_search.next_case(start, records, spec.search) for start in spec.cases)
        return [spec.job(folder, case) for case in following if case is not None]
    done = {record.key: record for record in records}
    return [job for job in spec.jobs(folder) if job.key not in done and not _has_failed(job, done)]


def _has_failed(job: Job, done: dict[tuple[str, int], Record]) -> bool:
    name, number = job.key
    return any((name, n) in done and done[name, n].status != "ok" for n in range(number))
