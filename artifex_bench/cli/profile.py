"""`artifex-bench profile`: the buffers, residuals and trace of one case, or of two side by side."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from artifex_bench.cli.params import GroupedCommand, case_options, run_options
from artifex_bench.cli.warnings import warn_if_untested
from artifex_bench.core import store
from artifex_bench.core.case import RematCase, replace_fields
from artifex_bench.core.case_names import case_label
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec


def show_profile(spec: RunSpec, folder: Path, across: bool = False, wide: bool = False) -> int:
    """Profile the cases of a spec, each into a folder of its own.

    Args:
        spec: One case, or two.
        folder: The run's folder.
        across: Whether to resume under other versions, as `run_sweep` does.
        wide: Whether tables have all columns, however narrow the terminal is.

    Returns:
        The exit code: 0 if every case is ok or skipped, 1 if a case failed, 130 if interrupted.
    """
    from artifex_bench.cli.console import print_status
    from artifex_bench.cli.devices import show_devices
    from artifex_bench.cli.failures import show_failures
    from artifex_bench.execution.executors import load_executor
    from artifex_bench.sweep import scheduler

    executor = load_executor(spec.executor)

    def measure(job: Job, log: Path) -> Record:
        print_status(f"profiling {case_label(job.case)}")
        trace = case_folder(folder, job) / "trace"
        trace.mkdir(parents=True, exist_ok=True)
        # a program from the compile cache may have no buffer assignment
        job = replace_fields(job, profile=str(trace.resolve()), cache=None)
        return executor.run(job, log)

    try:
        show_devices(spec, scheduler.remaining_jobs(spec, folder, store.load_records(folder)), executor)
        records = scheduler.run_sweep(spec, folder, measure, lambda job, record: None, across=across)
    except KeyboardInterrupt:
        show_records(store.load_records(folder), folder, wide)
        print_status(f"stopped. To resume: artifex-bench run --resume {folder}")
        return 130
    show_records(records, folder, wide)
    for record in records:
        if record.status == "skipped":
            print_status(f"skipped: {case_label(record.case)}: {record.reason}")
    return show_failures(records, spec)


def case_folder(folder: Path, item: Job | Record) -> Path:
    """Return the folder of a job's or record's case: its strategy, in letters that every file system takes."""
    assert isinstance(item.case, RematCase)
    return folder / re.sub(r"[^A-Za-z0-9._+-]", "_", item.case.strategy)[-200:]


def show_records(records: list[Record], folder: Path, wide: bool = False) -> None:
    """Print the tables of each case, and of two cases their difference; write their files and print the paths."""
    from artifex_bench.cli.tables import show_grids
    from artifex_bench.memory_profile import BUFFERS, tables
    from artifex_bench.report.text import make_printable

    written: list[Path] = []
    grids = [grid for record in records for grid in tables.make_tables(record)]
    for record in records:
        written += tables.write_profile(record, case_folder(folder, record))
        written += sorted((case_folder(folder, record) / "trace").rglob("*perfetto_trace.json.gz"))
    if len(records) == 2 and all(tables.list_rows(record, BUFFERS) for record in records):
        grids.append(tables.make_comparison(records[0], records[1]))
        written += tables.write_comparison(records[0], records[1], folder)
    show_grids(grids, wide)
    for path in written:
        print(make_printable(str(path)))


def _profile(**options: Any) -> None:
    from artifex_bench.sweep.spec import profile_run

    warn_if_untested()
    folder, spec = profile_run(options)
    sys.exit(show_profile(spec, folder, wide=options["wide"]))


profile = GroupedCommand(
    "profile",
    callback=_profile,
    help="Show what a case's memory contains at its peak.\n\n"
    "The profile has the buffers at the compiled peak, the residuals of autodiff, and a trace of some steps. Give one "
    "value per axis. Give one --strategy, or two to see what the second removes.\n\n"
    "Example: artifex-bench profile --strategy none,all",
    params=[*run_options(leave_out=("rounds",)), *case_options(RematCase)],
)
