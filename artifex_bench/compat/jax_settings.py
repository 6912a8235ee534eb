"""JAX and XLA: settings of the process, the implementation of `jax.checkpoint`, and devices of AOT targets.

Tested on jax 0.10.2 (Python 3.11) and jax 0.12.0.1 (Python 3.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import jax
from packaging.version import Version

from artifex_bench.core.versions import CPU_KEEPS_RECOMPUTATION, REMAT3_SINCE, has_remat3


def set_remat3(on: bool) -> None:
    """Choose the implementation of `jax.checkpoint` for this process.

    Args:
        on: Whether to use the new one (JAX_REMAT3) instead of the older one.

    Raises:
        RuntimeError: This JAX has no such choice, or its new implementation was not tested.
    """
    if on and not has_remat3():
        raise RuntimeError(f"JAX_REMAT3 needs jax {REMAT3_SINCE} or later, not {jax.__version__}")
    if not hasattr(jax.config, "jax_remat3"):
        raise RuntimeError(f"jax {jax.__version__} has no jax_remat3 to choose an implementation of jax.checkpoint by")
    jax.config.update("jax_remat3", on)


def jax_settings() -> dict[str, Any]:
    """Return all of JAX's settings by name, such as ``jax_enable_x64`` (`jax.config.values`, not documented)."""
    return dict(jax.config.values)


def remat3_is_on() -> bool:
    """Return whether this process uses JAX's new implementation of `jax.checkpoint`.

    Fallback where the setting does not exist: False.
    """
    return bool(getattr(jax.config, "jax_remat3", False))


@contextmanager
def classic_remat() -> Iterator[None]:
    """Use the older `jax.checkpoint` and `checkpoint_name` in the context, even under JAX_REMAT3.

    Memory plans attach names to values inside derivatives, and save the outputs of any operation. JAX_REMAT3 can do
    neither (jax 0.12.0.1). Fallback where the setting does not exist: nothing is changed.
    """
    from jax._src import config

    flag: Callable[[bool], AbstractContextManager[None]] = getattr(config, "remat3", lambda _: nullcontext())
    with flag(False):
        yield


def faithful_options(platform: str) -> dict[str, str | bool]:
    """Return the XLA options with which a platform keeps the recomputation that a program asks for.

    Before jax 0.11.1, XLA:CPU removes optimization barriers with the pass `cse_barrier_expander`, and then its
    common-subexpression elimination removes the recomputation of unrolled layers. Later versions, and the compilers of
    GPUs and TPUs, need no option.

    Args:
        platform: JAX's name of the platform: ``cpu``, ``gpu`` or ``tpu``.
    """
    eliminates = platform == "cpu" and Version(jax.__version__) < CPU_KEEPS_RECOMPUTATION
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if eliminates else {}


def aot_gpus(count: int, description: str) -> tuple[Any, ...]:
    """Return NVIDIA GPUs of one host to compile for, on a machine without them.

    Uses `jax.experimental.topologies`. Tested with the CUDA 12 and the CUDA 13 compilers. Without a GPU, JAX cannot
    tell which vendor is meant (https://github.com/jax-ml/jax/issues/23971), so `xla_bridge.canonicalize_platform` is
    replaced for this process.

    Args:
        count: Number of GPUs.
        description: XLA's description of one GPU, in protobuf's text format.
    """
    from jax._src import xla_bridge
    from jax.experimental import topologies

    canonical = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda platform: "cuda" if platform == "gpu" else canonical(platform)
    shape = f"1x1x{count}"  # slices, hosts per slice, devices per host
    topology = topologies.get_topology_desc(shape, "cuda", topology=shape, target_config=description)
    return tuple(topology.devices)


def aot_tpus(**topology: str) -> tuple[Any, ...]:
    """Return TPUs of a topology to compile for, on a machine without them (`jax.experimental.topologies`).

    Args:
        **topology: Arguments of `get_topology_desc`, such as ``topology_name="v5e:2x2"``.
    """
    from jax.experimental import topologies

    return tuple(topologies.get_topology_desc(platform="tpu", **topology).devices)
