"""JAX's memory pool on GPUs: the share of a GPU's memory that one program gets."""

from __future__ import annotations

import os

from artifex_bench.core.case import CaseError

POOL_VARIABLE, OLD_POOL_VARIABLE = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
ALLOCATOR_VARIABLE = "XLA_PYTHON_CLIENT_ALLOCATOR"
DEFAULT_POOL_SHARE = 0.75  # https://docs.jax.dev/en/latest/gpu_memory_allocation.html
# The largest share of a GPU's memory that advice suggests. A choice: the driver and other processes need the rest.
LARGEST_POOL_SHARE = 0.95


def read_gpu_pool_share() -> float:
    """Return the share of a GPU's memory that JAX's allocator takes, from the environment, as jaxlib reads it.

    A share above 1 lets programs spill to host memory (unified memory). It counts as 1, all of the device's memory.

    Raises:
        CaseError: The share is not a number above 0, or both variables are set, which JAX rejects.
    """
    if _has_no_pool():
        return 1.0
    variables = _set_pool_variables()
    if len(variables) == 2:
        raise CaseError(f"{POOL_VARIABLE} and {OLD_POOL_VARIABLE} are both set, which JAX rejects: unset the second")
    if not variables:
        return DEFAULT_POOL_SHARE
    try:
        share = float(os.environ[variables[0]])
    except ValueError:
        share = 0.0
    if not share > 0:
        raise CaseError(f"{variables[0]}={os.environ[variables[0]]}: must be a number above 0, such as 0.95")
    return min(share, 1.0)


def _has_no_pool() -> bool:
    """Return whether JAX allocates buffers one by one, without a pool."""
    return os.environ.get(ALLOCATOR_VARIABLE, "").lower() == "platform"


def _set_pool_variables() -> list[str]:
    return [name for name in (POOL_VARIABLE, OLD_POOL_VARIABLE) if os.environ.get(name)]


def name_pool_setting() -> str:
    """Return what decides the share of a GPU's pool: an environment variable, or JAX's default."""
    if _has_no_pool():
        return f"{ALLOCATOR_VARIABLE}=platform"
    variables = _set_pool_variables()
    return variables[0] if variables else f"default of {POOL_VARIABLE}"


def is_between_pools(needed: float, capacity: float, memory: float) -> bool:
    """Return whether a program exceeds the current GPU pool but fits the largest pool that advice suggests.

    Args:
        needed: Bytes that the program needs.
        capacity: Bytes of the current pool.
        memory: Bytes of the device's memory; NaN if not known, which gives False.
    """
    return bool(capacity < needed <= LARGEST_POOL_SHARE * memory)
