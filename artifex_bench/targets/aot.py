"""AOT targets: compilation for TPUs and GPUs without the hardware, on any machine.

TPU: libtpu compiles for a named topology. GPU: XLA's CUDA plugin compiles for a device described in XLA's
GpuTargetConfigProto, without a driver. Both go through `jax.experimental.topologies`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from artifex_bench.compat import aot_gpus, aot_tpus
from artifex_bench.targets.description import Description, load_description
from artifex_bench.targets.target import Target

# On a GPU, autotuning chooses for each matrix product between cuBLAS and Triton kernels, which fuse the operations
# around the product. Without a GPU, XLA takes Triton wherever it can. These options give the other extreme. Autotuning
# level 0 changed the peak of none of 6 transformers compiled for an H100, and halves the time to compile.
_CUBLAS_ONLY: dict[str, Any] = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}


@functools.cache
def load_aot_target(name: str) -> Target:
    """Prepare an AOT target. JAX itself runs on the CPU from then on.

    The first call must come before JAX has initialized a device in this process.

    Raises:
        CaseError: There is no such AOT target.
    """
    description = load_description(name)
    jax.config.update("jax_platforms", "cpu")
    devices = (_make_tpus if description.platform == "tpu" else _make_gpus)(description)
    first = SingleDeviceSharding(devices[0])
    return Target(
        description.platform,
        options=lambda compiler: {},  # those of a plain jit
        cublas_options=_CUBLAS_ONLY if description.platform == "gpu" else None,
        devices=devices,
        place=lambda shapes: jax.tree.map(lambda shape: shape.update(sharding=shape.sharding or first), shapes),
        description=description,
    )


def _make_tpus(description: Description) -> tuple[Any, ...]:
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # only one process may use a TPU, but any number its compiler
    return aot_tpus(**description.topology)


def _make_gpus(description: Description) -> tuple[Any, ...]:
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # there is no driver to check
    config = {
        "gpu_device_info": {**description.device, "device_memory_size": description.memory_bytes},
        "platform_name": "CUDA",
        # With the CUDA 13 compilers too: peaks are equal to the byte (docs/targets.md).
        "runtime_version": {"major": 12, "minor": 8},
        "dnn_version_info": {"major": 9, "minor": 8},
        "device_description_str": description.chip,
    }
    return aot_gpus(description.devices, format_text_proto(config))


def format_text_proto(message: Mapping[str, Any]) -> str:
    """Return a message of strings, numbers and messages in protobuf's text format."""

    def format_field(name: str, value: Any) -> str:
        if isinstance(value, Mapping):
            return f"{name} {{ {format_text_proto(value)} }}"
        return f'{name}: "{value}"' if isinstance(value, str) else f"{name}: {value}"

    return " ".join(format_field(name, value) for name, value in message.items())
