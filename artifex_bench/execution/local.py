"""The local executor: runs every job in a fresh process on this machine.

The record is made in the calling process, from what the worker has sent so far. A worker that crashes, hangs or is
killed therefore loses nothing that it had measured.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import re
import selectors
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from artifex_bench.core.convert import convert
from artifex_bench.core.job import PROBE, Job, job_to_json, split_job
from artifex_bench.core.record import STATUSES, Measurement, Record
from artifex_bench.execution.fork_server import ForkServer

PROBE_SECONDS = 120.0  # a TPU that another process holds may never answer
# How a line begins that an allocator prints before the process dies: Python, the C++ runtime, JAX's runtime and its
# fatal checks, LLVM. The same words elsewhere in a line prove nothing: they may be the model's own.
OUT_OF_MEMORY = re.compile(
    r"MemoryError\b|what\(\):\s+std::bad_alloc|LLVM ERROR: out of memory"
    r"|([\w.]+\.)?(Jax|Xla)RuntimeError: RESOURCE_EXHAUSTED: "
    r"|F\d{4} .*\b(RESOURCE_EXHAUSTED: |CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory)"
)


@dataclass
class _Messages:
    """The messages that a worker has sent so far."""

    measurements: list[Measurement] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str | None = None
    reason: str = ""

    def add_line(self, line: bytes) -> None:
        """Read one line. Lines that are not messages are ignored, such as the torn last line of a killed worker."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            message = json.loads(line)
            if "measurement" in message:
                self.measurements.append(convert(message["measurement"], Measurement))
            elif "environment" in message:
                self.environment = dict(message["environment"])
            elif message["status"] in STATUSES:
                self.status, self.reason = message["status"], str(message["reason"])


class WorkerProcess(Protocol):
    """A started worker. `subprocess.Popen` and `ForkedWorker` are such."""

    pid: int

    def wait(self) -> int:
        """Wait for the process to end, and return its exit code (negative for a signal)."""
        ...


# Starts a worker on its standard input, output and error, given as file descriptors.
StartWorker = Callable[[int, int, int], WorkerProcess]

_thread = threading.local()  # a fork server runs one job at a time, so each thread has its own
_fork_servers: list[ForkServer] = []


def _start_worker(stdin: int, stdout: int, stderr: int) -> WorkerProcess:
    """Start a worker by the fork server of this thread."""
    if not hasattr(_thread, "fork_server"):
        _thread.fork_server = ForkServer(worker_environment())
        _fork_servers.append(_thread.fork_server)
    worker: WorkerProcess = _thread.fork_server.start_worker(stdin, stdout, stderr)
    return worker


def kill_jobs() -> None:
    """Kill the workers of all threads. Their `run_job` calls return at once, with records of status `failed`."""
    for fork_server in _fork_servers:
        fork_server.kill()


def run_job(job: Job, log: Path, start_worker: StartWorker = _start_worker) -> Record:
    """Measure a job in a fresh process. A job in several parts runs one process after another.

    Args:
        job: What to measure.
        log: File that receives everything that the process prints. Overwritten.
        start_worker: Starts a process that speaks the worker's protocol (`execution/worker.py`).

    Returns:
        The record: status `ok`, or the status and reason of a job that failed, hung or was killed, with the
        measurements that it had taken before.

    Raises:
        KeyboardInterrupt: The call was interrupted. The worker is killed first.
    """
    messages = _Messages()
    started_at, start = datetime.datetime.now(datetime.UTC), time.monotonic()
    status, reason = "ok", ""
    log.write_bytes(b"")
    for part in split_job(job):
        if status != "ok":
            break
        try:
            request = job_to_json(part)
            status, reason = _run_request(request, messages, log, start_worker, start, part.timeout)
        except ChildProcessError as error:
            status, reason = "failed", str(error)
    return Record(
        case=job.case,
        round=job.round,
        status=status,
        reason=reason,
        measurements=tuple(messages.measurements),
        environment=messages.environment,
        started_at=started_at.isoformat(timespec="seconds"),
        wall_seconds=time.monotonic() - start,
    )


@functools.cache
def probe_environment() -> dict[str, Any]:
    """Return the environment of this machine's workers, which does not change; empty if none can start JAX."""
    messages = _Messages()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ChildProcessError):
        log = Path(folder) / "log"
        log.touch()
        _run_request(PROBE, messages, log, _start_worker, time.monotonic(), PROBE_SECONDS)
    return messages.environment


def _run_request(
    request: Any, messages: _Messages, log: Path, start_worker: StartWorker, start: float, timeout: float
) -> tuple[str, str]:
    """Start a worker, send it a request, and read its messages until it is done. Returns status and reason."""
    messages.status, log_start = None, log.stat().st_size
    oom_kills = _count_kernel_oom_kills()
    worker_stdin, to_worker = os.pipe()
    from_worker, worker_stdout = os.pipe()
    with log.open("ab") as errors, open(to_worker, "wb") as sender, open(from_worker, "rb", buffering=0) as receiver:
        try:
            process = start_worker(worker_stdin, worker_stdout, errors.fileno())
        finally:
            os.close(worker_stdin)
            os.close(worker_stdout)
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once: its exit code says why
                sender.write(json.dumps(request).encode())
                sender.close()
            in_time = _read_messages(receiver, messages, start + timeout)
        finally:
            code = _kill_worker(process)
    if not in_time:
        return "timeout", f"not done after {timeout:g} s"
    if messages.status is not None:
        return messages.status, messages.reason
    return _explain_death(code, log, log_start, _count_kernel_oom_kills() > oom_kills)


def _read_messages(receiver: BinaryIO, messages: _Messages, deadline: float) -> bool:
    """Read messages until the worker sends its status or closes the pipe. Returns False if the time ran out."""
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(receiver, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(receiver.fileno(), 1 << 16)
            if not data:
                return True
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                messages.add_line(line)
            if messages.status is not None:
                return True
    return False


def _kill_worker(process: WorkerProcess) -> int:
    """Kill the worker's process group if it still exists, and return the worker's exit code."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _explain_death(code: int, log: Path, log_start: int, kernel_killed: bool) -> tuple[str, str]:
    """Return status and reason of a worker that ended without sending a status.

    Args:
        code: Its exit code, negative for a signal.
        log: File with what it printed.
        log_start: Byte offset in the log at which this worker's output begins.
        kernel_killed: Whether the kernel killed a process of this machine for memory in the meantime.
    """
    lines = _read_last_lines(log, log_start)
    if kernel_killed and code == -signal.SIGKILL:
        return "oom", "the kernel killed the process: the machine ran out of memory"
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    memory_error = next(filter(OUT_OF_MEMORY.match, lines), None)  # an abort prints a stack below it
    if memory_error is not None:
        return "oom", f"{cause}: {memory_error}"
    return "failed", f"the process ended early ({cause})" + (f": {lines[-1]}" if lines else "")


def _read_last_lines(log: Path, start: int) -> list[str]:
    text = log.read_bytes()[start:].decode(errors="replace")
    return [line.strip()[:500] for line in text.strip().splitlines()[-100:]]


def _count_kernel_oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for memory; 0 if the kernel does not report it."""
    try:
        match = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return int(match[1]) if match else 0


def worker_environment() -> dict[str, str]:
    """Return the environment variables of workers: the user's own, and defaults for those that are not set."""
    return {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # GPU memory is taken as needed, so that the peak is the program's
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OPENBLAS_NUM_THREADS": "1",  # numpy is not measured, and a process with threads cannot be forked safely
        **os.environ,
    }
