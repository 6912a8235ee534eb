"""The worker: a job as JSON on standard input, its record's parts as JSON lines on standard output.

Each measurement is sent as soon as it is taken, so that it survives whatever happens after it.
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

from artifex_bench.core.case import LOCAL
from artifex_bench.core.convert import to_plain
from artifex_bench.core.job import Job, SkipJob, job_from_json
from artifex_bench.core.registry import load_attribute, load_kind

PROFILE = "artifex_bench.memory_profile.measure:measure"
# XLA's own status, and those of the drivers of GPUs, which it passes on in statuses of other kinds
EXHAUSTED = ("RESOURCE_EXHAUSTED:", "CUDA_ERROR_OUT_OF_MEMORY", "hipErrorOutOfMemory")
Send = Callable[[dict[str, Any]], None]


def main() -> None:
    """Measure one job. Standard output carries the protocol alone: what models print goes to standard error."""
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    gc.disable()  # a short life: collecting would only disturb what is timed
    job = job_from_json(json.load(sys.stdin))
    if job.memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit, job.memory_limit))
    status, reason = _outcome(job, lambda message: _send(protocol, message))
    _send(protocol, {"status": status, "reason": reason})
    protocol.flush()
    os._exit(0)  # nothing is left to do: skip the interpreter's and XLA's slow farewell


def _send(protocol: TextIO, message: dict[str, Any]) -> None:
    protocol.write(json.dumps(message, allow_nan=False) + "\n")


def _outcome(job: Job, send: Send) -> tuple[str, str]:
    try:
        measure(job, send)
    except BaseException as error:  # a crash is a record
        if isinstance(error, SkipJob):
            return "skipped", str(error)
        import traceback

        traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if out_of_memory(error):
            return "oom", text
        return "failed", f"{type(error).__name__}: {text}"
    return "ok", ""


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocator raised the error, or what it was raised from: Python's, the system's, or JAX's runtime. That
    an error's text speaks of memory tells nothing: it may be the model's own.
    """
    if error is None:
        return False
    ours = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return ours or _runtime_exhausted(error) or out_of_memory(error.__cause__)


def _runtime_exhausted(error: BaseException) -> bool:
    """Whether JAX's runtime has that status. It quotes errors of the model's callbacks in statuses of its own."""
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(error, jax.errors.JaxRuntimeError):
        return False
    first = str(error).partition("\n")[0]
    return any(status in first for status in EXHAUSTED) and "callback" not in first.lower()


def measure(job: Job, send: Send) -> None:
    """Take every probe of the job, phase by phase."""
    import jax

    from artifex_bench import targets
    from artifex_bench.targets.detection import may_have_accelerator
    from artifex_bench.targets.environment import environment, settings

    target = getattr(job.case, "target", LOCAL)
    if target != LOCAL:
        targets.find(target)  # before JAX starts a device
    elif not os.environ.get("JAX_PLATFORMS") and not may_have_accelerator():
        jax.config.update("jax_platforms", "cpu")  # the compilers of others, if installed, look for them for seconds
    if target == LOCAL and job.cache is not None:
        jax.config.update("jax_compilation_cache_dir", job.cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    devices = getattr(job.case, "devices", 1)
    if devices > 1 and target == LOCAL:
        jax.config.update("jax_num_cpu_devices", devices)  # counts where the CPU is what is attached
    found, before = environment(targets.compiler_versions(target)), settings()
    send({"environment": found})
    try:
        path = load_kind(job.case.kind).measure if job.profile is None else PROFILE
        for measurement in load_attribute(path)(job):
            send({"measurement": to_plain(measurement)})
    finally:
        changed = {name: value for name, value in settings().items() if value != before.get(name)}  # by the model
        if changed:
            send({"environment": {**found, "flags": {**found["flags"], **changed}}})


if __name__ == "__main__":
    main()
