"""Devices that are not there: their own compilers, fed with a description of the device, run on any machine.

TPU: libtpu compiles for a named topology. GPU: XLA's CUDA plugin compiles for a device described in XLA's
GpuTargetConfigProto, without a driver. JAX: `jax.experimental.topologies`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from artifex_bench.compat import aot_gpus, aot_tpus
from artifex_bench.targets import Description, Target, describe

# On the device, autotuning chooses for each matrix product between Triton's kernels, which fuse what surrounds the
# product, and cuBLAS. Without the device XLA takes Triton wherever it can: these options give the other end. Their
# autotuning level changed no peak of 6 programs on an H100, and halves the time to compile.
_CUBLAS_ONLY: dict[str, Any] = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}


@functools.cache
def find(name: str) -> Target:
    """The target of that name. Nothing runs on it: what JAX itself needs runs on the CPU.

    The first call must come before JAX has started a device in this process.
    """
    description = describe(name)
    jax.config.update("jax_platforms", "cpu")
    devices = (_tpu if description.platform == "tpu" else _gpu)(description)
    one = SingleDeviceSharding(devices[0])
    return Target(
        description.platform,
        options=lambda compiler: {},  # as a user's own jit compiles
        cublas_options=_CUBLAS_ONLY if description.platform == "gpu" else None,
        devices=devices,
        place=lambda shapes: jax.tree.map(lambda shape: shape.update(sharding=shape.sharding or one), shapes),
        description=description,
    )


def _tpu(description: Description) -> tuple[Any, ...]:
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # one process at a time may use a TPU, any number its compiler
    return aot_tpus(**description.topology)


def _gpu(description: Description) -> tuple[Any, ...]:
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # there is no driver whose version could be held against ours
    config = {
        "gpu_device_info": {**description.device, "device_memory_size": description.memory_bytes},
        "platform_name": "CUDA",
        "runtime_version": {"major": 12, "minor": 8},  # with CUDA 13's compilers too: peaks are equal (docs/targets.md)
        "dnn_version_info": {"major": 9, "minor": 8},
        "device_description_str": description.chip,
    }
    return aot_gpus(description.devices, text_proto(config))


def text_proto(message: Mapping[str, Any]) -> str:
    """A message of strings, numbers and messages in protobuf's text format."""

    def field(name: str, value: Any) -> str:
        if isinstance(value, Mapping):
            return f"{name} {{ {text_proto(value)} }}"
        return f'{name}: "{value}"' if isinstance(value, str) else f"{name}: {value}"

    return " ".join(field(name, value) for name, value in message.items())
