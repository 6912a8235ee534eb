"""The command `profile`: one case or two, each visited once in a process of its own, told and written."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from artifex_bench import progress, runner, store
from artifex_bench.case import RematCase, label
from artifex_bench.execution import BACKENDS
from artifex_bench.record import Record
from artifex_bench.report import profile
from artifex_bench.report.text import plain
from artifex_bench.runner import Request
from artifex_bench.visit import Visit


def run(request: Request, folder: Path, across: bool = False) -> int:
    """Profile the request's cases into a folder each; the exit code: 0 fine, 1 a case failed, 130 interrupted."""

    def measure(visit: Visit, log: Path) -> Record:
        progress.print_status(f"profiling {label(visit.case)}")
        trace = case_folder(folder, visit) / "trace"
        trace.mkdir(parents=True, exist_ok=True)
        # a compiled program that comes from a cache may have lost its buffer assignment
        visit = dataclasses.replace(visit, profile=str(trace.resolve()), cache=None)
        return BACKENDS[request.backend].measure(visit, log)

    try:
        records = runner.sweep(request, folder, measure, lambda visit, record: None, across=across)
    except KeyboardInterrupt:
        tell(store.load(folder), folder)
        progress.print_status(f"stopped: go on with artifex-bench run --resume {folder}")
        return 130
    tell(records, folder)
    fell = [record for record in records if record.status != "ok"]
    for record in fell:
        progress.print_status(f"{record.status}: {label(record.case)}: {record.reason}")
    return 1 if any(record.status != "skipped" for record in fell) else 0


def case_folder(folder: Path, of: Visit | Record) -> Path:
    """The folder of a case: its strategy's name, without what a file system may not have."""
    assert isinstance(of.case, RematCase)
    return folder / re.sub(r"[^A-Za-z0-9._+-]", "_", of.case.strategy)[-200:]


def tell(records: list[Record], folder: Path) -> None:
    """Print the tables of each case, and of two what the first holds and the second does not; write the files."""
    written: list[Path] = []
    grids = [grid for record in records for grid in profile.tables(record)]
    for record in records:
        written += profile.write(record, case_folder(folder, record))
        written += sorted((case_folder(folder, record) / "trace").rglob("*perfetto_trace.json.gz"))
    if len(records) == 2 and all(profile.rows(record, profile.BUFFERS) for record in records):
        grids.append(profile.comparison(records[0], records[1]))
        written += profile.write_comparison(records[0], records[1], folder)
    progress.show_grids(grids)
    for path in written:
        print(plain(str(path)))
