"""Targets: where a case is compiled and perhaps run: the attached device, or one that is not there. Imports no JAX.

A device that is not there is one table of `descriptions.toml`; its own compiler says what memory a program needs on it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module, resources
from typing import Any

from artifex_bench.core.case import LOCAL, CaseError, RematCase, check_choice
from artifex_bench.targets.detection import is_local_device_cpu

POOL_VARIABLE, OLD_POOL_VARIABLE = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
DEFAULT_POOL_SHARE = 0.75  # JAX's own, where the variable is not set
LARGEST_POOL_SHARE = 0.95  # what is advised at most: the driver and other processes need some of the memory
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


@dataclass(frozen=True)
class Description:
    """A device that is not there: `memory_bytes` that it has; `bandwidth` of its memory in bytes/s;
    `peak_flops` in FLOP/s by dtype of a matrix product; bytes/s `to_host` memory and as many back at the same time (0:
    not published); each with its source. `topology` and `device` are what the
    TPU's and the GPU's compiler want to know. `topologies` are those that it comes in, and `devices` how many there
    are in the one that the name carries.
    """

    name: str
    chip: str
    memory_bytes: int
    memory_source: str
    bandwidth: float
    peak_flops: Mapping[str, float]
    roofline_source: str
    topologies: Sequence[str]
    to_host: float = 0.0
    to_host_source: str = ""
    topology: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)
    devices_per_chip: int = 1
    devices: int = 1

    @property
    def platform(self) -> str:
        """`tpu` or `gpu`."""
        return self.name.partition(":")[0]

    @property
    def capacity_bytes(self) -> int:
        """What one program gets: of a GPU's memory JAX's pool, of a TPU's what its compiler allows."""
        return int(self.memory_bytes * gpu_pool_share()) if self.platform == "gpu" else self.memory_bytes

    @property
    def capacity_source(self) -> str:
        """Where `capacity_bytes` is from."""
        if self.platform != "gpu":
            return self.memory_source
        return f"{gpu_pool_share():.0%} ({POOL_VARIABLE}) of {self.memory_source}"


def gpu_pool_share() -> float:
    """The share of a GPU's memory that JAX's allocator takes, by the environment, as jaxlib reads it.

    A share above 1 lets programs spill to the host (unified memory): the device has no more than all of its memory.

    Raises:
        CaseError: The share is not a number above 0, or both variables are set, which JAX refuses.
    """
    if os.environ.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower() == "platform":  # no pool: buffers one by one
        return 1.0
    given = [name for name in (POOL_VARIABLE, OLD_POOL_VARIABLE) if os.environ.get(name)]
    if len(given) == 2:
        raise CaseError(f"{POOL_VARIABLE} and {OLD_POOL_VARIABLE} are both set: unset the second, JAX refuses both")
    if not given:
        return DEFAULT_POOL_SHARE
    try:
        share = float(os.environ[given[0]])
    except ValueError:
        share = 0.0
    if not share > 0:
        raise CaseError(f"{given[0]}={os.environ[given[0]]}: must be a number above 0, such as 0.95")
    return min(share, 1.0)


def is_between_pools(needed: float, capacity: float, memory: float) -> bool:
    """Whether so many bytes exceed the capacity that JAX's pool gives, and fit the largest pool that is advised.

    False where the device's `memory` is not known (NaN), and where it has no pool (the capacity is all of it).
    """
    return bool(capacity < needed <= LARGEST_POOL_SHARE * memory)


@functools.cache
def descriptions() -> dict[str, Description]:
    """Every device that a case can be compiled for without having it, by name."""
    tables = tomllib.loads((resources.files(__name__) / "descriptions.toml").read_text())
    shared = tables.pop("nvidia")
    for table in tables.values():
        if "device" in table:
            table["device"] = {**shared, **table["device"]}
    return {name: Description(name, **table) for name, table in tables.items()}


def parse_target(name: str) -> str:
    """Return the name of a target as cases hold it. `cpu` is an alias of `local` if the local device is a CPU.

    Raises:
        CaseError: `cpu`, where the local device is an accelerator.
    """
    if name != "cpu":
        return name
    if not is_local_device_cpu():
        raise CaseError("target 'cpu': JAX's device here is an accelerator: give 'local', or set JAX_PLATFORMS=cpu")
    return LOCAL


def describe(target: str) -> Description:
    """The description of that name: of one device, or of a topology of them (``tpu:v5e:2x4``, ``gpu:h100:8``).

    Raises CaseError with the valid ones.
    """
    platform, _, rest = target.partition(":")
    kind, colon, topology = rest.partition(":")
    name = f"{platform}:{kind}" if colon else target
    check_choice("target", name, (LOCAL, *descriptions()))
    if name == LOCAL:
        raise CaseError(f"target {target!r}: it has no description: valid are {', '.join(descriptions())}")
    found = descriptions()[name]
    if not colon:
        return found
    if topology not in found.topologies:
        valid = ", ".join(found.topologies)
        raise CaseError(f"target {target!r}: {name} has no topology {topology!r}: valid are {valid}; one is {name}")
    chips = math.prod(map(int, topology.split("x")))
    named = {key: f"{value.partition(':')[0]}:{topology}" for key, value in found.topology.items() if ":" in value}
    return replace(found, name=target, topology={**found.topology, **named}, devices=chips * found.devices_per_chip)


def check_devices(case: RematCase) -> None:
    """Raise CaseError unless the case's mesh takes the devices of its target, all of them where it is not attached."""
    if case.target == LOCAL:
        return
    there = describe(case.target).devices
    if case.devices != there:
        have = f"target {case.target!r} has {there} device{'s' if there > 1 else ''}"
        if case.mesh is None:
            raise CaseError(f"{have}: say with --mesh how a program is split over them, such as --mesh fsdp={there}")
        fitting = sorted(
            f"{name}:{topology}"
            for name in descriptions()
            if case.target.startswith(name)
            for topology in descriptions()[name].topologies
            if describe(f"{name}:{topology}").devices == case.devices
        )
        other = f"choose the target {' or '.join(fitting)}, or another mesh" if fitting else "choose another mesh"
        raise CaseError(f"mesh {case.mesh!r}: takes {case.devices} devices, and {have}: {other}")


def check_installed(target: str) -> None:
    """Raise CaseError unless there is such a target, with all that it takes to compile for it."""
    if target == LOCAL:
        return
    if describe(target).platform == "gpu":
        gpu_pool_share()  # a share that is none is refused before anything runs
    extra, _ = COMPILERS[describe(target).platform]
    missing = [name for name, version in compiler_versions(target).items() if version is None]
    if missing:
        raise CaseError(
            f"target {target!r}: its compiler is not installed: pip install 'artifex-bench[{extra}]', "
            f"or make aot in a clone ({', '.join(missing)} missing)"
        )


def compiler_versions(target: str) -> dict[str, str | None]:
    """The packages that hold the compiler of a target that is not attached, with their versions (None: missing).

    CUDA 13 and CUDA 12 serve alike. If both are complete, both are returned: JAX loads either. If none is complete, the
    one with the fewest missing packages is.
    """
    if target == LOCAL:
        return {}
    _, sets = COMPILERS[describe(target).platform]
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


@dataclass(frozen=True)
class Target:
    """Where programs are compiled. `options(compiler)` are XLA's for it; `devices` those that a mesh may take;
    `place(shapes)` puts abstract arrays that are on no mesh on one of them. `description` is None for what is attached,
    and only there can programs run. `cublas_options` compile for a GPU without Triton's matrix products.
    """

    platform: str
    options: Callable[[str], dict[str, Any]]
    devices: tuple[Any, ...] = ()
    place: Callable[[Any], Any] = lambda shapes: shapes
    description: Description | None = None
    cublas_options: Mapping[str, Any] | None = None


def find(target: str) -> Target:
    """The target of that name, made ready: in a process of its own, before JAX starts a device."""
    module = import_module(f"{__name__}.{'local' if target == LOCAL else 'aot'}")
    found: Target = module.find(target)
    return found
