"""What a command prints about cases that failed: for a case without memory, its limit, its peak and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from artifex_bench.cli.console import print_status
from artifex_bench.core import units
from artifex_bench.core.case import Case, RematCase
from artifex_bench.core.case_names import case_label, changed_fields
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec

PAGE = "docs/out-of-memory.md"


def show_failures(records: Sequence[Record], spec: RunSpec) -> int:
    """Print a line for each case that is neither ok nor skipped, and once what to run after an `oom`.

    Args:
        records: The records of a run.
        spec: Its run spec.

    Returns:
        The exit code: 1 if a case failed, otherwise 0.
    """
    failed = [record for record in records if record.status not in ("ok", "skipped")]
    for record in failed:
        memory = f"{describe_memory(record, spec)}: " if record.status == "oom" else ""
        print_status(f"{record.status}: {case_label(record.case)}: {memory}{record.reason}")
    out_of_memory = (record.case for record in failed if record.status == "oom")
    if (command := next(filter(None, map(make_next_command, out_of_memory)), None)) is not None:
        print_status(f"next, to see what fills the memory ({PAGE}): {command}")
    return 1 if failed else 0


def describe_memory(record: Record, spec: RunSpec) -> str:
    """Return the limit and the peak of a case: ``limit 8.00 GiB (--memory-limit), compiled peak 29.5 GiB``."""
    environment = record.environment
    limits = {
        "--memory-limit": spec.memory_limit if record.case.is_local else None,
        "device": environment.get("device_memory_bytes"),
        "machine": environment.get("memory_bytes"),
    }
    source, limit = next(((name, size) for name, size in limits.items() if size is not None), ("", None))
    words = f"limit {units.format_bytes(limit)} ({source})" if limit is not None else "limit not known"
    peak = record.needed_peak
    if peak is None:
        return f"{words}, peak not known because it was not compiled"
    return f"{words}, compiled peak {units.format_bytes(peak)}"


def make_next_command(case: Case) -> str | None:
    """Return the command that shows what fills the memory of a case, without running it; None if there is none."""
    if not isinstance(case, RematCase) or not case.is_local:
        return None
    options = [f"--{axis} {shlex.quote(str(value))}" for axis, value in changed_fields(case).items()]
    return " ".join(["artifex-bench profile", *options, "--steps 0"])
