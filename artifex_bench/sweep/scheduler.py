"""The scheduler: runs the jobs of a spec, and judges and stores each record before the next job begins."""

from __future__ import annotations

import contextlib
import os
import shutil
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from artifex_bench.core import store
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.case_names import case_id, case_label
from artifex_bench.core.convert import show_value
from artifex_bench.core.environments import changed_settings
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import CACHE, SCRATCH, RunSpec, Search
from artifex_bench.sweep import batch_search

Measure = Callable[[Job, Path], Record]
Show = Callable[[Job, Record | None], None]  # called before a job, with None, and after it


class ExecutorError(store.StoreError):
    """An executor that breaks its contract (`execution.executors.Executor`). Nothing is stored of that job."""


def run_sweep(
    spec: RunSpec,
    folder: Path,
    measure: Measure,
    show: Show,
    stop: Callable[[], None] = lambda: None,
    across: bool = False,
) -> list[Record]:
    """Run every job of a spec that has no record yet.

    A case that is not `ok` in one round is not measured again. Jobs that only compile run on all cores at once. Timed
    jobs run alone. If the sweep is interrupted, all records so far are on disk, and the same call continues it.

    Args:
        spec: The run spec.
        folder: The run's folder.
        measure: Runs a job, with a file for its log, and returns the record.
        show: Called before and after each job.
        stop: Ends the jobs that other threads have running.
        across: Whether a run may continue in another environment than that of its records (versions, machine). A median
            is then of both.

    Returns:
        All records of the run.

    Raises:
        StoreError: The folder cannot be written, another process uses it, or the executor returned no valid record.
        CaseError: The environment has changed, and `across` is false.
    """
    with store.lock_run(folder):
        store.cut_torn_line(folder)
        before = store.load_records(folder)
        done = {record.key: record for record in before}

        def keep(job: Job, record: Record) -> None:
            baseline = done.get((case_id(job.case.baseline), job.round))
            record = load_kind(job.case.kind).judge(record, baseline)
            _store(folder, before, record, across)
            done[record.key] = record
            show(job, record)

        jobs = spec.make_jobs(folder)
        compiled = [job for job in jobs if not job.case.is_local and job.key not in done]
        with contextlib.closing(_run_together(compiled, folder, measure, stop)) as records:
            for job in compiled:
                show(job, None)
                keep(job, next(records))
        for job in jobs:
            if job.key in done or _has_failed(job, done):
                continue
            show(job, None)
            store.clear_folder(folder / SCRATCH)
            keep(job, _run_logged(job, folder, measure))
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
    """Find the largest batch that fits, for each case of a spec.

    Each job compiles the batch that earlier results suggest. Searches run side by side on all cores, except those for
    the local device, which one process at a time may use. If the search is interrupted, all records so far are on disk,
    and the same call continues it.

    Args:
        spec: The run spec, with a `search`. Its cases are where the searches begin.
        folder: The run's folder.
        measure: Runs a job, with a file for its log, and returns the record.
        show: Called with each record.
        stop: Ends the jobs that other threads have running.
        across: As for `run_sweep`.

    Returns:
        All records of the run.

    Raises:
        StoreError: The folder cannot be written, another process uses it, or the executor returned no valid record.
        CaseError: The environment has changed, and `across` is false.
    """
    search = spec.search or Search()
    with store.lock_run(folder):
        store.cut_torn_line(folder)
        before = store.load_records(folder)
        done = [*before]
        under_way: dict[Future[Record], Case] = {}
        with _threads(os.cpu_count(), stop) as anywhere, _threads(1, stop) as here:

            def continue_search(start: Case) -> None:
                case = batch_search.next_case(start, done, search)
                if case is not None:
                    pool = here if case.is_local else anywhere
                    under_way[pool.submit(_run_logged, spec.make_job(folder, case), folder, measure)] = start

            for start in spec.cases:
                continue_search(start)
            while under_way:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    start, record = (
                        under_way.pop(future),
                        batch_search.apply_memory_budget(future.result(), search.memory_budget),
                    )
                    _store(folder, before, record, across)
                    done.append(record)
                    show(record)
                    continue_search(start)
        shutil.rmtree(folder / CACHE, ignore_errors=True)
        store.check_complete(folder, len(done))
    return done


def _store(folder: Path, before: Sequence[Record], record: Record, across: bool) -> None:
    """Store a record. Raises CaseError if its environment differs from that of the run's earlier records."""
    if not across and (changed := changed_settings(before, record)):
        name, (then, now) = next(iter(changed.items()))
        change = f"{folder} was measured with {name} {then}, and now it is {now}"
        raise CaseError(f"{change}: start a new run, or mix both with --resume {folder} --across")
    store.append_record(folder, record)


def _run_logged(job: Job, folder: Path, measure: Measure) -> Record:
    """Run a job and return its record. The log is deleted if the job is ok, unless an AOT compiler printed to it.

    Raises:
        ExecutorError: The executor did not return the job's record.
    """
    log = store.create_log(folder, job.key)
    try:
        record = measure(job, log)
    except (CaseError, store.StoreError):
        raise
    except Exception as error:  # a fault of the executor, not of the case, which has no record therefore
        with contextlib.suppress(OSError), log.open("a") as file:
            traceback.print_exc(file=file)
        summary = " ".join(f"{type(error).__name__}: {error}".split())[:500].rstrip(": ")
        raise ExecutorError(f"the executor raised {summary}, and must return a record: see {log}") from error
    _check_record(job, record)
    if record.status in ("ok", "skipped") and (job.case.is_local or not log.exists() or not log.stat().st_size):
        log.unlink(missing_ok=True)
    return record


def _check_record(job: Job, record: Record) -> None:
    """Raise ExecutorError unless a record is one of that job, and StoreError if it cannot be stored."""
    name = f"{case_label(job.case)} round {job.round}"
    if not isinstance(record, Record):
        raise ExecutorError(f"the executor returned {show_value(record)} for {name}: must be a record")
    if (record.case, record.round) != (job.case, job.round):
        raise ExecutorError(f"the executor returned a record of {store.describe_key(record)}: must be of {name}")
    store.encode_record(record)


def _run_together(
    jobs: Sequence[Job], folder: Path, measure: Measure, stop: Callable[[], None]
) -> Generator[Record, None, None]:
    """Yield the records of jobs that only compile, in order. One job runs per core."""
    with _threads(os.cpu_count(), stop) as pool:
        for future in [pool.submit(_run_logged, job, folder, measure) for job in jobs]:
            yield future.result()


@contextlib.contextmanager
def _threads(count: int | None, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Provide a pool of threads that run jobs. An exception also ends the jobs under way, by `stop`."""
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
    """Return the jobs that have not run yet. For a search only the next is known."""
    if spec.search is not None:
        following = (batch_search.next_case(start, records, spec.search) for start in spec.cases)
        return [spec.make_job(folder, case) for case in following if case is not None]
    done = {record.key: record for record in records}
    return [job for job in spec.make_jobs(folder) if job.key not in done and not _has_failed(job, done)]


def _has_failed(job: Job, done: dict[tuple[str, int], Record]) -> bool:
    name, number = job.key
    return any((name, n) in done and done[name, n].status != "ok" for n in range(number))
