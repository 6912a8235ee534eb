"""Initial weights made on the host, because JAX's own initializers compile a program for every shape."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artifex_bench.compat import is_traced


def scaled_uniform(gain: float = 1.0) -> Any:
    """Return an initializer (key, shape, dtype) -> weights, uniform in ±sqrt(3 gain / fan_in).

    It is LeCun's for gain 1 (LeCun et al. 1998) and He's for gain 2 (He et al. 2015). The fan-in is the
    first dimension. Under tracing the weights are zeros, because only their shapes are used.
    """

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        if is_traced(key):
            return jnp.zeros(shape, dtype)
        bound = math.sqrt(3 * gain / shape[0])
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return jax.device_put(rng.uniform(-bound, bound, shape).astype(dtype))

    return initialize
