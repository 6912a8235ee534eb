"""`artifex-bench profile`: shows what one case's memory consists of, or two side by side."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from artifex_bench.cli.params import GroupedCommand, case_options, run_options
from artifex_bench.cli.warnings import warn_if_untested
from artifex_bench.core import store
from artifex_bench.core.case import RematCase, label, replace_fields
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec


def show_profile(spec: RunSpec, folder: Path, across: bool = False) -> int:
    """Profile the spec's cases into a folder each; the exit code: 0 fine, 1 a case failed, 130 interrupted."""
    from artifex_bench.cli.progress import print_status
    from artifex_bench.execution.executors import EXECUTORS
    from artifex_bench.sweep import scheduler

    def measure(job: Job, log: Path) -> Record:
        print_status(f"profiling {label(job.case)}")
        trace = case_folder(folder, job) / "trace"
        trace.mkdir(parents=True, exist_ok=True)
        # a compiled program that comes from a cache may have lost its buffer assignment
        job = replace_fields(job, profile=str(trace.resolve()), cache=None)
        return EXECUTORS[spec.executor].measure(job, log)

    try:
        records = scheduler.run_sweep(spec, folder, measure, lambda job, record: None, across=across)
    except KeyboardInterrupt:
        show_records(store.load_records(folder), folder)
        print_status(f"stopped: go on with artifex-bench run --resume {folder}")
        return 130
    show_records(records, folder)
    fell = [record for record in records if record.status != "ok"]
    for record in fell:
        print_status(f"{record.status}: {label(record.case)}: {record.reason}")
    return 1 if any(record.status != "skipped" for record in fell) else 0


def case_folder(folder: Path, of: Job | Record) -> Path:
    """The folder of a case: its strategy's name, without what a file system may not have."""
    assert isinstance(of.case, RematCase)
    return folder / re.sub(r"[^A-Za-z0-9._+-]", "_", of.case.strategy)[-200:]


def show_records(records: list[Record], folder: Path) -> None:
    """Print the tables of each case, and of two what the first holds and the second does not; write the files."""
    from artifex_bench.cli.progress import show_grids
    from artifex_bench.memory_profile import tables
    from artifex_bench.report.text import plain

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


def _profile(**options: Any) -> None:
    from artifex_bench.sweep.spec import profile_run

    warn_if_untested()
    folder, spec = profile_run(options)
    sys.exit(show_profile(spec, folder))


profile = GroupedCommand(
    "profile",
    callback=_profile,
    help="Show what one case's memory consists of: the buffers at its compiled peak, what autodiff saves, a trace.\n\n"
    "Give one value per axis, and one --strategy, or two to see side by side what the second removes.\n\n"
    "Example: artifex-bench profile --strategy none,all",
    params=[*run_options(leave_out=("rounds",)), *case_options(RematCase)],
)
