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

_PACKAGES = ("artifex-bench", "jax", "jaxlib", "flax", "optax", "numpy")
_FLAGS = ("XLA_FLAGS", "JAX_PLATFORMS", "LIBTPU_INIT_ARGS", "XLA_PYTHON_CLIENT_PREALLOCATE", "OMP_NUM_THREADS")


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
        "flags": {name: os.environ[name] for name in _FLAGS if name in os.environ},
        "load": os.getloadavg()[0],
    }


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"
