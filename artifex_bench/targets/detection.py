"""Detection of the local device's kind before JAX is imported."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

# Device files of GPUs (NVIDIA, AMD, Intel, WSL), TPUs and Trainium.
DEVICE_FILES = ("nvidia*", "kfd", "dri/renderD*", "dxg", "accel*", "vfio/[0-9]*", "neuron*")
NVIDIA_FILES = ("nvidia[0-9]*", "nvidiactl", "dxg")
GOOGLE = "0x1ae0"  # PCI id of the vendor; its network cards have it too
# PCI ids of TPUs from v2 to v8, from jax/_src/hardware_utils.py (jax 0.12)
TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076", "0x0083", "0x007c")
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


def find_accelerator(devices: Path = Path("/dev"), pci: Path = Path("/sys/bus/pci/devices")) -> tuple[str, str] | None:
    """Return the accelerator that the system shows, and the extra of this package that lets JAX use it.

    Drivers create the device files of NVIDIA's GPUs. A TPU is found on the PCI bus, because its device files may be
    those of other devices. JAX looks for both in the same places.

    Returns:
        For example ``("NVIDIA GPU", "cuda13")``; None if there is neither an NVIDIA GPU nor a TPU.
    """
    if any(path for files in NVIDIA_FILES for path in devices.glob(files)):
        return "NVIDIA GPU", "cuda13"
    ids = ((_read_id(place / "vendor"), _read_id(place / "device")) for place in pci.glob("*"))
    return ("TPU", "tpu") if any(vendor == GOOGLE and device in TPUS for vendor, device in ids) else None


def _read_id(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
