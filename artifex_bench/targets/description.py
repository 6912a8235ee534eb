"""Descriptions of AOT targets: memory, rates and topologies, read from `descriptions.toml`."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from artifex_bench.core.case import LOCAL, CaseError, check_choice
from artifex_bench.targets.gpu_pool import name_pool_setting, read_gpu_pool_share


@dataclass(frozen=True)
class Description:
    """An AOT target: a table of `descriptions.toml`, where every number has its source.

    Attributes:
        name: The target's name, with its topology if it has one: ``tpu:v5e``, ``tpu:v5e:2x4``, ``gpu:h100:8``.
        chip: The product's name.
        memory_bytes: Memory of one JAX device.
        memory_source: Where `memory_bytes` is from.
        bandwidth: Bandwidth of that memory, in bytes/s.
        peak_flops: dtype of a matrix product -> peak rate in FLOP/s.
        roofline_source: Where `bandwidth` and `peak_flops` are from.
        topologies: The valid topologies of several devices.
        to_host: Bandwidth to host memory in bytes/s, the same in each direction at once; 0 if it is not published.
        to_host_source: Where `to_host` is from.
        topology: Arguments of the TPU compiler's topology.
        device: Fields of XLA's GpuDeviceInfoProto for the GPU compiler.
        devices_per_chip: JAX devices per chip.
        devices: JAX devices of the topology that `name` carries.
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
        """Bytes that one program may use: JAX's memory pool on a GPU, what the compiler allows on a TPU."""
        return int(self.memory_bytes * read_gpu_pool_share()) if self.platform == "gpu" else self.memory_bytes

    @property
    def capacity_source(self) -> str:
        """Where `capacity_bytes` is from."""
        if self.platform != "gpu":
            return self.memory_source
        return f"{read_gpu_pool_share():.0%} ({name_pool_setting()}) of {self.memory_source}"


@functools.cache
def load_descriptions() -> dict[str, Description]:
    """Return every AOT target of one device, by name."""
    tables = tomllib.loads((resources.files("artifex_bench.targets") / "descriptions.toml").read_text())
    shared = tables.pop("nvidia")
    for table in tables.values():
        if "device" in table:
            table["device"] = {**shared, **table["device"]}
    return {name: Description(name, **table) for name, table in tables.items()}


def load_description(target: str) -> Description:
    """Return the description of an AOT target.

    Args:
        target: A device (``tpu:v5e``), or a topology of several (``tpu:v5e:2x4``, ``gpu:h100:8``).

    Raises:
        CaseError: There is no such AOT target. The message names the valid ones.
    """
    platform, _, rest = target.partition(":")
    kind, colon, topology = rest.partition(":")
    name = f"{platform}:{kind}" if colon else target
    check_choice("target", name, (LOCAL, *load_descriptions()))
    if name == LOCAL:
        raise CaseError(f"target {target!r}: must be an AOT target: valid are {', '.join(load_descriptions())}")
    one = load_descriptions()[name]
    if not colon:
        return one
    if topology not in one.topologies:
        valid = ", ".join(one.topologies)
        raise CaseError(
            f"target {target!r}: {name} has no topology {topology!r}: valid are {valid}, or {name} for one device"
        )
    chips = math.prod(map(int, topology.split("x")))
    named = {key: f"{value.partition(':')[0]}:{topology}" for key, value in one.topology.items() if ":" in value}
    return replace(one, name=target, topology={**one.topology, **named}, devices=chips * one.devices_per_chip)
