"""Targets: the devices that cases are compiled for. Imports no JAX.

The local target is the device that JAX finds on this machine: cases are compiled for it and run. An AOT target is a
device that cases are compiled for ahead of time, without the hardware: its compiler plans the memory, and nothing runs.
Every AOT target is one table of `descriptions.toml`.
"""

from __future__ import annotations

import importlib.metadata

from artifex_bench.core.case import LOCAL, CaseError, RematCase
from artifex_bench.targets.description import Description, load_description, load_descriptions
from artifex_bench.targets.detection import is_local_device_cpu
from artifex_bench.targets.gpu_pool import LARGEST_POOL_SHARE, POOL_VARIABLE, is_between_pools, read_gpu_pool_share
from artifex_bench.targets.target import Target

__all__ = [
    "COMPILERS",
    "LARGEST_POOL_SHARE",
    "POOL_VARIABLE",
    "Description",
    "Target",
    "check_devices",
    "check_installed",
    "compiler_versions",
    "is_between_pools",
    "load_description",
    "load_descriptions",
    "load_target",
    "parse_target",
]

# platform -> the extra that installs its compiler, and the sets of packages of which one must be installed
COMPILERS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "tpu": ("tpu-aot", (("libtpu",),)),
    "gpu": (
        "gpu-aot",
        (
            ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc"),
            ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
        ),
    ),
}


def parse_target(name: str) -> str:
    """Return the name of a target as cases hold it. `cpu` is an alias of `local` if the local device is a CPU.

    Raises:
        CaseError: `cpu`, where the local device is an accelerator.
    """
    if name != "cpu":
        return name
    if not is_local_device_cpu():
        raise CaseError("target 'cpu': JAX's device here is an accelerator: use 'local', or set JAX_PLATFORMS=cpu")
    return LOCAL


def check_devices(case: RematCase) -> None:
    """Raise CaseError unless the case's mesh takes all devices of its AOT target. The local target always passes."""
    if case.target == LOCAL:
        return
    available = load_description(case.target).devices
    if case.devices != available:
        has = f"target {case.target!r} has {available} device{'s' if available > 1 else ''}"
        if case.mesh is None:
            raise CaseError(f"{has}: shard over them with --mesh, such as --mesh fsdp={available}")
        fitting = sorted(
            f"{name}:{topology}"
            for name in load_descriptions()
            if case.target.startswith(name)
            for topology in load_descriptions()[name].topologies
            if load_description(f"{name}:{topology}").devices == case.devices
        )
        other = f"choose the target {' or '.join(fitting)}, or another mesh" if fitting else "choose another mesh"
        raise CaseError(f"mesh {case.mesh!r}: takes {case.devices} devices, and {has}: {other}")


def check_installed(target: str) -> None:
    """Raise CaseError unless the target exists and its compiler is installed."""
    if target == LOCAL:
        return
    platform = load_description(target).platform
    if platform == "gpu":
        read_gpu_pool_share()  # reject an invalid share before anything runs
    extra, _ = COMPILERS[platform]
    missing = [name for name, version in compiler_versions(target).items() if version is None]
    if missing:
        raise CaseError(
            f"target {target!r}: its compiler is not installed ({', '.join(missing)} missing): "
            f"pip install 'artifex-bench[{extra}]', or make aot in a clone"
        )


def compiler_versions(target: str) -> dict[str, str | None]:
    """Return the packages that hold the compiler of an AOT target, with their versions (None: not installed).

    The CUDA 13 and the CUDA 12 packages serve equally. If both sets are complete, both are returned, because JAX may
    load either. If none is complete, the set with the fewest missing packages is returned. Empty for the local target.
    """
    if target == LOCAL:
        return {}
    _, sets = COMPILERS[load_description(target).platform]
    versions = [{name: _version(name) for name in packages} for packages in sets]
    complete = [found for found in versions if None not in found.values()]
    if complete:
        return {name: version for found in complete for name, version in found.items()}
    return min(versions, key=lambda found: list(found.values()).count(None))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def load_target(name: str) -> Target:
    """Prepare a target for compilation.

    Call it in a process of its own, before JAX has initialized a device: an AOT target sets JAX's platform.

    Raises:
        CaseError: There is no such target.
    """
    if name == LOCAL:
        from artifex_bench.targets.local import load_local_target

        return load_local_target()
    from artifex_bench.targets.aot import load_aot_target

    return load_aot_target(name)
