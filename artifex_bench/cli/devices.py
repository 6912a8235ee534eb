"""The first line of a run: what it runs on, and what it is compiled for."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from artifex_bench.cli.console import print_status
from artifex_bench.cli.warnings import print_warning
from artifex_bench.core import units
from artifex_bench.core.case import LOCAL
from artifex_bench.core.job import Job
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import Executor
from artifex_bench.targets import load_description
from artifex_bench.targets.detection import find_accelerator


def show_devices(spec: RunSpec, jobs: Sequence[Job], executor: Executor) -> None:
    """Print one line to standard error: device, count, memory and JAX version. Warn if an accelerator is not used.

    Args:
        spec: The run spec.
        jobs: The jobs that are left. Without jobs nothing is printed, because nothing is measured.
        executor: Where they run. Its processes say what device they have.
    """
    if not jobs:
        return
    environment = executor.probe() if any(job.case.is_local for job in jobs) else {}
    if line := describe_devices(spec, environment):
        print_status(line)
    if (warning := explain_unused_accelerator(environment)) is not None:
        print_warning(warning)


def describe_devices(spec: RunSpec, environment: Mapping[str, Any]) -> str:
    """Return what a run uses: ``device: NVIDIA H100 80GB HBM3 x 8, 59.3 GiB each, jax 0.12.0``."""
    names = dict.fromkeys(str(getattr(case, "target", LOCAL)) for case in spec.cases)
    parts = [f"device: {_describe_local(environment)}"] if environment and LOCAL in names else []
    if targets := [name for name in names if name != LOCAL]:
        parts.append(f"compiled for {', '.join(map(_describe_target, targets))}; nothing runs there")
    jax = environment.get("versions", {}).get("jax") or importlib.metadata.version("jax")
    return ", ".join(["; ".join(parts), f"jax {jax}"]) if parts else ""


def _describe_local(environment: Mapping[str, Any]) -> str:
    """Return the device, its number and its memory. That of a GPU is JAX's pool."""
    if environment["platform"] == "cpu":
        cores, memory = environment["cores"], environment["memory_bytes"]
        return f"CPU {environment['cpu']}, {units.count_noun(cores, 'core')}, {units.format_bytes(memory)}"
    words = f"{environment['device']} x {environment['devices']}"
    memory = environment.get("device_memory_bytes")
    return words if memory is None else f"{words}, {units.format_bytes(memory)} for programs on each"


def _describe_target(name: str) -> str:
    target = load_description(name)
    number = f" x {target.devices}" if target.devices > 1 else ""
    return f"{name} ({target.chip}{number}, {units.format_bytes(target.capacity_bytes)} for programs on each)"


def explain_unused_accelerator(environment: Mapping[str, Any]) -> str | None:
    """Return what to install if the system shows an accelerator and JAX uses the CPU; None if all is well.

    A CPU that JAX_PLATFORMS asks for is well.
    """
    if environment.get("platform") != "cpu" or environment.get("flags", {}).get("JAX_PLATFORMS"):
        return None
    found = find_accelerator()
    if found is None:
        return None
    accelerator, extra = found
    return f"this machine has a {accelerator}, and JAX uses the CPU: pip install 'artifex-bench[{extra}]'"
