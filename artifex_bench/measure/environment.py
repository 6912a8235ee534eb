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
# every setting of JAX and XLA may change a program; folders and addresses do not, and name a person or a place
_FLAGS = re.compile(r"(JAX|XLA|LIBTPU)_\w+|NVIDIA_TF32_OVERRIDE|TF_GPU_ALLOCATOR|OMP_NUM_THREADS")
_PLACES = re.compile(r"\w*(_DIR|_DIRECTORY|_PATH|_FILE|_ADDRESS|_PROXY|_TOKEN|_KEY)")
_DUMPS = re.compile(r"\s*--xla_dump\w*(=\S*)?")


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
        "flags": flags(os.environ),
        "load": os.getloadavg()[0],
    }


def flags(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that may change a compiled program or its memory, with their values."""
    names = (name for name in sorted(variables) if _FLAGS.fullmatch(name) and not _PLACES.fullmatch(name))
    return {name: _DUMPS.sub("", variables[name]) for name in names}


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"
