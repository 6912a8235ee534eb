"""A fresh local process for every job: its record is made here, so that nothing it does can lose it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from artifex_bench.core.convert import convert
from artifex_bench.core.job import Job, job_to_json, split_job
from artifex_bench.core.record import STATUSES, Measurement, Record
from artifex_bench.execution.fork_server import ForkServer

# What allocators print of a process that ends for want of memory, at the beginning of a line: Python, the C++ runtime,
# JAX's runtime and its fatal checks, LLVM. The words alone, in another error, tell nothing.
OUT_OF_MEMORY = re.compile(
    r"MemoryError\b|what\(\):\s+std::bad_alloc|LLVM ERROR: out of memory"
    r"|([\w.]+\.)?(Jax|Xla)RuntimeError: RESOURCE_EXHAUSTED: "
    r"|F\d{4} .*\b(RESOURCE_EXHAUSTED: |CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory)"
)


@dataclass
class _Said:
    """What a worker has said so far."""

    measurements: list[Measurement] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str | None = None
    reason: str = ""

    def hear(self, line: bytes) -> None:
        """Take in one line; what is no message is passed over: the torn last line of a worker that was killed."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            message = json.loads(line)
            if "measurement" in message:
                self.measurements.append(convert(message["measurement"], Measurement))
            elif "environment" in message:
                self.environment = dict(message["environment"])
            elif message["status"] in STATUSES:
                self.status, self.reason = message["status"], str(message["reason"])


class Process(Protocol):
    """A worker that was started: `subprocess.Popen` is one."""

    pid: int

    def wait(self) -> int: ...


Start = Callable[[int, int, int], Process]  # the worker's standard input, output and error, as file descriptors


def _fork(stdin: int, stdout: int, stderr: int) -> Process:
    return _fork_server().fork(stdin, stdout, stderr)


_own = threading.local()  # a fork server serves one job at a time, so that each thread has its own
_fork_servers: list[ForkServer] = []


def _fork_server() -> ForkServer:
    if not hasattr(_own, "fork_server"):
        _own.fork_server = ForkServer(environment())
        _fork_servers.append(_own.fork_server)
    return _own.fork_server


def stop() -> None:
    """Kill every worker, whichever thread it works for: their jobs end at once, as failed ones."""
    for fork_server in _fork_servers:
        fork_server.kill()


def measure(job: Job, log: Path, start: Start = _fork) -> Record:
    """The record of a job: `ok`, or the status and reason of a process that failed, hung or was killed. Where it has
    parts, one process follows the other.

    What the worker prints goes to `log`. Interrupting it (KeyboardInterrupt) kills the process and is raised again.
    """
    said = _Said()
    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    status, reason = "ok", ""
    log.write_bytes(b"")
    for part in split_job(job):
        if status != "ok":
            break
        try:
            status, reason = _outcome(part, said, log, start, begin + job.timeout)
        except ChildProcessError as error:
            status, reason = "failed", str(error)
    return Record(
        case=job.case,
        round=job.round,
        status=status,
        reason=reason,
        measurements=tuple(said.measurements),
        environment=said.environment,
        started_at=started.isoformat(timespec="seconds"),
        wall_seconds=time.monotonic() - begin,
    )


def _outcome(job: Job, said: _Said, log: Path, start: Start, deadline: float) -> tuple[str, str]:
    """Start the worker, hand the job over, and hear it out: status and reason."""
    said.status, begins = None, log.stat().st_size
    kills = _kernel_oom_kills()
    question, ask = os.pipe()
    hear, answer = os.pipe()
    with log.open("ab") as errors, open(ask, "wb") as asking, open(hear, "rb", buffering=0) as hearing:
        try:
            process = start(question, answer, errors.fileno())
        finally:
            os.close(question)
            os.close(answer)
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once; its exit tells why
                asking.write(json.dumps(job_to_json(job)).encode())
                asking.close()
            in_time = _hear(hearing, said, deadline)
        finally:
            code = _end(process)
    if not in_time:
        return "timeout", f"not done after {job.timeout:g} s"
    if said.status is not None:
        return said.status, said.reason
    return _died(code, log, begins, _kernel_oom_kills() > kills)


def _hear(hearing: BinaryIO, said: _Said, deadline: float) -> bool:
    """Hear what the worker says until it tells how it went, or ends; False when time ran out."""
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(hearing, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(hearing.fileno(), 1 << 16)
            if not data:
                return True
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                said.hear(line)
            if said.status is not None:
                return True
    return False


def _end(process: Process) -> int:
    """Kill the worker and whatever it has started, where they have not ended; its exit code."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _died(code: int, log: Path, begins: int, kernel_killed: bool) -> tuple[str, str]:
    """Status and reason for a process that ended without a word; what it printed begins there in the log."""
    lines = _last_lines(log, begins)
    if kernel_killed and code == -signal.SIGKILL:
        return "oom", "the kernel killed the process: the machine ran out of memory"
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    told = next(filter(OUT_OF_MEMORY.match, lines), None)  # above the stack that an abort prints
    if told is not None:
        return "oom", f"{cause}: {told}"
    return "failed", f"the process ended early ({cause})" + (f": {lines[-1]}" if lines else "")


def _last_lines(log: Path, begins: int) -> list[str]:
    text = log.read_bytes()[begins:].decode(errors="replace")
    return [line.strip()[:500] for line in text.strip().splitlines()[-100:]]


def _kernel_oom_kills() -> int:
    """How many processes this machine's kernel has killed for memory; 0 where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) if found else 0


def environment() -> dict[str, str]:
    """The worker's environment: GPU memory taken as needed, so that its peak is the program's own."""
    return {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OPENBLAS_NUM_THREADS": "1",  # numpy is not measured, and a process with threads is not to be forked
        **os.environ,
    }
