"""The worker: reads a job as JSON from standard input, and writes its results as JSON lines to standard output.

Every line is one message: ``{"environment": {...}}``, ``{"measurement": {...}}``, and at the end
``{"status": ..., "reason": ...}``. Each measurement is sent as soon as it is taken, so that a later crash cannot lose
it. The request `PROBE` in place of a job is answered with the environment alone.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any, TextIO

from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.core.convert import to_plain
from artifex_bench.core.job import PROBE, Job, SkipJob, job_from_json
from artifex_bench.core.registry import load_attribute, load_kind

PROFILE = "artifex_bench.memory_profile.measure:measure"  # measures jobs that are profiled
# XLA's own status, and those of GPU drivers, which XLA passes on within other statuses.
EXHAUSTED = ("RESOURCE_EXHAUSTED:", "CUDA_ERROR_OUT_OF_MEMORY", "hipErrorOutOfMemory")
Send = Callable[[dict[str, Any]], None]


def main() -> None:
    """Measure one job and exit.

    Only messages go to standard output. What models and libraries print goes to standard error.
    """
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    gc.disable()  # the process is short-lived: a collection would only disturb the timing
    request = json.load(sys.stdin)
    if request == PROBE:
        _write_message(messages, {"environment": _probe_environment()})
        _write_message(messages, {"status": "ok", "reason": ""})
        os._exit(0)
    job = job_from_json(request)
    if job.memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit, job.memory_limit))
    status, reason = _try_job(job, lambda message: _write_message(messages, message))
    _write_message(messages, {"status": status, "reason": reason})
    messages.flush()
    os._exit(0)  # skips the slow shutdown of the interpreter and of XLA


def _write_message(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message, allow_nan=False) + "\n")


def _try_job(job: Job, send: Send) -> tuple[str, str]:
    """Measure a job; return its status, and the reason if that is not `ok`."""
    try:
        measure_job(job, send)
    except BaseException as error:  # a crash is a result too
        if isinstance(error, SkipJob):
            return "skipped", str(error)
        import traceback

        traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if is_out_of_memory(error):
            return "oom", text
        return "failed", text if isinstance(error, CaseError) else f"{type(error).__name__}: {text}"
    return "ok", ""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an allocator raised the error or one of its causes: Python's, the system's or JAX's.

    The error's text alone proves nothing, because it may be the model's own.
    """
    if error is None:
        return False
    from_allocator = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return from_allocator or _is_runtime_exhausted(error) or is_out_of_memory(error.__cause__)


def _is_runtime_exhausted(error: BaseException) -> bool:
    """Return whether JAX's runtime raised the error for memory. Errors of the model's callbacks are excluded."""
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(error, jax.errors.JaxRuntimeError):
        return False
    first_line = str(error).partition("\n")[0]
    return any(status in first_line for status in EXHAUSTED) and "callback" not in first_line.lower()


def _probe_environment() -> dict[str, Any]:
    """Return the environment of jobs that run on the local target."""
    _choose_local_platform()
    from artifex_bench.targets.environment import read_environment

    return read_environment()


def _choose_local_platform() -> None:
    """Let JAX use the CPU at once if this machine has no accelerator: plugins would look for their devices."""
    import jax

    from artifex_bench.targets.detection import may_have_accelerator

    config: Any = jax.config
    if not os.environ.get("JAX_PLATFORMS") and not may_have_accelerator():
        config.update("jax_platforms", "cpu")


def measure_job(job: Job, send: Send) -> None:
    """Take every measurement of a job and send each as a message.

    Args:
        job: What to measure.
        send: Called with each message: the environment first, then the measurements.
    """
    import jax

    from artifex_bench import targets
    from artifex_bench.targets.environment import read_environment, read_settings

    config: Any = jax.config
    target = getattr(job.case, "target", LOCAL)
    if target != LOCAL:
        targets.load_target(target)  # before JAX starts a device
    else:
        _choose_local_platform()
    if target == LOCAL and job.cache is not None:
        config.update("jax_compilation_cache_dir", job.cache)
        config.update("jax_persistent_cache_min_compile_time_secs", 0)
    devices = getattr(job.case, "devices", 1)
    if devices > 1 and target == LOCAL:
        config.update("jax_num_cpu_devices", devices)  # has an effect only if the local device is a CPU
    environment, before = read_environment(targets.compiler_versions(target)), read_settings()
    send({"environment": environment})
    path = load_kind(job.case.kind).measure if job.profile is None else PROFILE
    try:
        for measurement in load_attribute(path)(job):
            send({"measurement": to_plain(measurement)})
    finally:
        # A model's own code may have changed JAX's settings: they belong to the record.
        changed = {name: value for name, value in read_settings().items() if value != before.get(name)}
        if changed:
            send({"environment": {**environment, "flags": {**environment["flags"], **changed}}})


if __name__ == "__main__":
    main()
