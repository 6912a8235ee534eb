"""Target: a device that programs are compiled for, whichever it is. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.targets.description import Description


@dataclass(frozen=True)
class Target:
    """A device that programs are compiled for, ready for use in this process.

    Attributes:
        platform: `cpu`, `gpu` or `tpu`.
        options: Case's compiler (`faithful` or `default`) -> XLA options of the compilation.
        devices: The JAX devices that a mesh may take.
        place: Gives abstract arrays without a sharding one of the target's devices. Does nothing on the local target.
        description: The AOT target's description; None for the local target, the only one that programs run on.
        cublas_options: XLA options that compile for a GPU without Triton's matrix products; None on other platforms.
    """

    platform: str
    options: Callable[[str], dict[str, Any]]
    devices: tuple[Any, ...] = ()
    place: Callable[[Any], Any] = lambda shapes: shapes
    description: Description | None = None
    cublas_options: Mapping[str, Any] | None = None
