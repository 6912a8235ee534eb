"""A fresh local process for every visit: its record is made here, so that nothing it does can lose it."""

from __future__ import annotations

import datetime
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifex_bench import visit as visits
from artifex_bench.record import Measurement, Record
from artifex_bench.visit import Visit

WORKER = (sys.executable, "-m", "artifex_bench.measure.worker")
_OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory|bad_alloc|cannot allocate memory", re.IGNORECASE)


@dataclass
class _Said:
    """What a worker has said so far."""

    measurements: list[Measurement] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str | None = None
    reason: str = ""

    def hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return  # the torn last line of a worker that was killed
        if "measurement" in message:
            self.measurements.append(Measurement(**message["measurement"]))
        elif "environment" in message:
            self.environment = message["environment"]
        elif "status" in message:
            self.status, self.reason = message["status"], message["reason"]


def measure(visit: Visit, log: Path, worker: Sequence[str] = WORKER) -> Record:
    """The record of a visit: `ok`, or the status and reason of a process that failed, hung or was killed.

    Interrupting it (KeyboardInterrupt) kills the process and is raised again.
    """
    said = _Said()
    started, start = datetime.datetime.now(datetime.UTC), time.monotonic()
    kills = _kernel_oom_kills()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            worker,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,  # so that Ctrl-C reaches this process alone, and a kill all of the worker's
        )
        try:
            timed_out = not _converse(process, visit, said, start + visit.timeout)
        finally:
            _kill(process)
    if timed_out:
        status, reason = "timeout", f"not done after {visit.timeout:g} s"
    elif said.status is not None:
        status, reason = said.status, said.reason
    else:
        status, reason = _died(process.returncode, log, _kernel_oom_kills() > kills)
    return Record(
        case=visit.case,
        round=visit.round,
        status=status,
        reason=reason,
        measurements=tuple(said.measurements),
        environment=said.environment,
        started_at=started.isoformat(timespec="seconds"),
        wall_seconds=time.monotonic() - start,
    )


def _converse(process: subprocess.Popen[bytes], visit: Visit, said: _Said, deadline: float) -> bool:
    """Hand the visit over and hear what the worker says; False when time ran out."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(visits.to_json(visit)).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; its exit tells why
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                process.wait()
                return True
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                said.hear(line)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _died(code: int, log: Path, kernel_killed: bool) -> tuple[str, str]:
    """Status and reason for a process that ended without a word."""
    last = _last_line(log)
    if kernel_killed and code == -signal.SIGKILL:
        return "oom", "the kernel killed the process: the machine ran out of memory"
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if _OUT_OF_MEMORY.search(last):
        return "oom", f"{cause}: {last}"
    return "failed", f"the process ended early ({cause})" + (f": {last}" if last else "")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:500] if lines else ""


def _kernel_oom_kills() -> int:
    """How many processes this machine's kernel has killed for memory; 0 where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) if found else 0


def _environment() -> dict[str, str]:
    """The worker's environment: GPU memory taken as needed, so that its peak is the program's own."""
    return {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "ARTIFEX_BENCH_PARENT": str(os.getpid()),
    }
