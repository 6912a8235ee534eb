"""Detection of the local device's kind before JAX is imported."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

# Device files of GPUs (NVIDIA, AMD, Intel, WSL), TPUs and Trainium.
DEVICE_FILES = ("nvidia*", "kfd", "dri/renderD*", "dxg", "accel*", "vfio/[0-9]*", "neuron*")
# Packages that bring JAX a backend for an accelerator (https://docs.jax.dev/en/latest/installation.html).
PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm60-plugin", "jax-rocm7-plugin", "jax-metal", "libtpu")


def may_have_accelerator(devices: Path = Path("/dev")) -> bool:
    """Return whether this machine may have an accelerator: on Linux, whether a device file of one exists."""
    return sys.platform != "linux" or any(path for files in DEVICE_FILES for path in devices.glob(files))


def is_local_device_cpu(devices: Path = Path("/dev")) -> bool:
    """Return whether JAX's default device is a CPU: by JAX_PLATFORMS, else by device files and installed plugins."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0].strip() == "cpu"
    return not (may_have_accelerator(devices) and any(map(_is_installed, PLUGINS)))


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
