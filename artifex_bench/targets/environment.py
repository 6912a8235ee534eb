"""The environment of a measurement: versions, device, machine and flags, which may change its result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from artifex_bench.compat import jax_settings

_PACKAGES = ("artifex-bench", "jax", "jaxlib", "flax", "optax", "numpy")
# Every setting of JAX and XLA may change a program, so all are recorded. Excluded are JAX_REMAT3, which is an axis of
# cases, and paths and addresses, which may name a person or a machine.
_FLAGS = re.compile(
    r"(JAX|XLA|LIBTPU)_\w+|NVIDIA_TF32_OVERRIDE|TF_(GPU_ALLOCATOR|FORCE_UNIFIED_MEMORY)|OMP_NUM_THREADS"
)
_OTHERS = re.compile(
    r"JAX_REMAT3|JAX_SKIP_CUDA_CONSTRAINTS_CHECK|\w*_(DIR|DIRECTORY|PATH|FILE|ADDRESS|PROXY|TOKEN|KEY|TO)"
)
_DUMPS = re.compile(r"\s*--xla_dump\w*(=\S*)?")
_PLACE = re.compile(r"(?<![\w.])~?/[^\s,;]+|\b[\w.-]+:\d{2,5}\b")


def read_environment(compilers: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Return versions, device, machine and flags as plain JSON values. Nothing in it names a person or a machine.

    Args:
        compilers: More packages to record, with their versions (None: not installed).
    """
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {**{name: importlib.metadata.version(name) for name in _PACKAGES}, **(compilers or {})},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        **_read_device_memory(device),
        "cpu": _read_cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "flags": program_flags(os.environ),
        "load": os.getloadavg()[0],
    }


def _read_device_memory(device: Any) -> dict[str, int]:
    """Return the bytes that programs may use on a device, if its allocator reports them. That of a CPU does not."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return {} if limit is None else {"device_memory_bytes": limit}


def program_flags(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that may change a compiled program or its memory, without paths and hosts."""
    current = jax_settings()
    names = (name for name in sorted(variables) if _FLAGS.fullmatch(name) and not _OTHERS.fullmatch(name))
    flags = {
        name: _PLACE.sub(
            "<place>", _DUMPS.sub("", _normalize_switch(variables[name], current.get(name.lower())))
        ).strip()
        for name in names
    }
    return {name: value for name, value in flags.items() if value}


def _normalize_switch(text: str, current: Any) -> str:
    """Return a boolean setting of JAX as `True` or `False`, however it was written; other settings unchanged."""
    if not text.strip() or not isinstance(current, bool):
        return text
    return str(text.strip().lower() in ("y", "yes", "t", "true", "on", "1"))


def read_settings() -> dict[str, str]:
    """Return JAX's current settings, as the environment variables that would set them. Models may change them."""
    return program_flags({name.upper(): str(value) for name, value in jax_settings().items() if value is not None})


def _read_cpu_model() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or "unknown"
