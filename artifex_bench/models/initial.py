"""Initial weights made on the host, with no program to compile: JAX's own initializers compile one for every shape."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artifex_bench.compat import is_traced


def scaled_uniform(gain: float = 1.0) -> Any:
    """An initializer (key, shape, dtype) -> weights uniform in ±sqrt(3 gain / fan_in): LeCun's for gain 1, He's for 2.

    Zeros where the key is being traced, for then only shapes are asked for.
    """

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        if is_traced(key):
            return jnp.zeros(shape, dtype)
        bound = math.sqrt(3 * gain / shape[0])
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return jax.device_put(rng.uniform(-bound, bound, shape).astype(dtype))

    return initialize
