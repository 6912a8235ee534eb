"""The environment of a measurement: whatever could make the same case come out differently elsewhere."""

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
# Every setting of JAX and XLA may change a program. JAX_REMAT3 is an axis of cases; places name a person or a machine.
_FLAGS = re.compile(
    r"(JAX|XLA|LIBTPU)_\w+|NVIDIA_TF32_OVERRIDE|TF_(GPU_ALLOCATOR|FORCE_UNIFIED_MEMORY)|OMP_NUM_THREADS"
)
_OTHERS = re.compile(
    r"JAX_REMAT3|JAX_SKIP_CUDA_CONSTRAINTS_CHECK|\w*_(DIR|DIRECTORY|PATH|FILE|ADDRESS|PROXY|TOKEN|KEY|TO)"
)
_DUMPS = re.compile(r"\s*--xla_dump\w*(=\S*)?")
_PLACE = re.compile(r"(?<![\w.])~?/[^\s,;]+|\b[\w.-]+:\d{2,5}\b")


def environment(compilers: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Versions, device, machine and flags, as plain JSON values; nothing that names a person or a place.

    `compilers` are packages with their versions that matter besides.
    """
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {**{name: importlib.metadata.version(name) for name in _PACKAGES}, **(compilers or {})},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "flags": program_flags(os.environ),
        "load": os.getloadavg()[0],
    }


def program_flags(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that may change a compiled program or its memory. Paths and hosts are left out."""
    current = jax_settings()
    names = (name for name in sorted(variables) if _FLAGS.fullmatch(name) and not _OTHERS.fullmatch(name))
    found = {
        name: _PLACE.sub("<place>", _DUMPS.sub("", _value(variables[name], current.get(name.lower())))).strip()
        for name in names
    }
    return {name: value for name, value in found.items() if value}


def _value(text: str, current: Any) -> str:
    """A switch of JAX reads the same however it was written: JAX_ENABLE_X64 as 1, or as true."""
    if not text.strip() or not isinstance(current, bool):
        return text
    return str(text.strip().lower() in ("y", "yes", "t", "true", "on", "1"))


def settings() -> dict[str, str]:
    """JAX's settings as they are, as the variables that would set them. A model's own module may change some."""
    return program_flags({name.upper(): str(value) for name, value in jax_settings().items() if value is not None})


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"
