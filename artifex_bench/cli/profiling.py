"""The command `profile`: one case or two, each measured once in a process of its own, told and written."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from artifex_bench.cli.progress import print_status, show_grids
from artifex_bench.core import store
from artifex_bench.core.case import RematCase, label
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import load_executor
from artifex_bench.memory_profile import tables
from artifex_bench.report.text import plain
from artifex_bench.sweep import scheduler


def run(spec: RunSpec, folder: Path, across: bool = False) -> int:
    """Profile the spec's cases into a folder each; the exit code: 0 fine, 1 a case failed, 130 interrupted."""

    def measure(job: Job, log: Path) -> Record:
        print_status(f"profiling {label(job.case)}")
        trace = case_folder(folder, job) / "trace"
        trace.mkdir(parents=True, exist_ok=True)
        # a compiled program that comes from a cache may have lost its buffer assignment
        job = dataclasses.replace(job, profile=str(trace.resolve()), cache=None)
        return load_executor(spec.executor).run(job, log)

    try:
        records = scheduler.sweep(spec, folder, measure, lambda job, record: None, across=across)
    except KeyboardInterrupt:
        tell(store.load(folder), folder)
        print_status(f"stopped: go on with artifex-bench run --resume {folder}")
        return 130
    tell(records, folder)
    fell = [record for record in records if record.status != "ok"]
    for record in fell:
        print_status(f"{record.status}: {label(record.case)}: {record.reason}")
    return 1 if any(record.status != "skipped" for record in fell) else 0


def case_folder(folder: Path, of: Job | Record) -> Path:
    """The folder of a case: its strategy's name, without what a file system may not have."""
    assert isinstance(of.case, RematCase)
    return folder / re.sub(r"[^A-Za-z0-9._+-]", "_", of.case.strategy)[-200:]


def tell(records: list[Record], folder: Path) -> None:
    """Print the tables of each case, and of two what the first holds and the second does not; write the files."""
    written: list[Path] = []
    grids = [grid for record in records for grid in tables.tables(record)]
    for record in records:
        written += tables.write(record, case_folder(folder, record))
        written += sorted((case_folder(folder, record) / "trace").rglob("*perfetto_trace.json.gz"))
    if len(records) == 2 and all(tables.rows(record, tables.BUFFERS) for record in records):
        grids.append(tables.comparison(records[0], records[1]))
        written += tables.write_comparison(records[0], records[1], folder)
    show_grids(grids)
    for path in written:
        print(plain(str(path)))
