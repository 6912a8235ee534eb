"""The roofline: products at the peak or at the bandwidth, counted as often as they run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from artifex_bench.remat.measure.roofline import estimate_step

PEAKS = {"bfloat16": 1e12, "float32": 5e11}
FLOPS = 2.0 * 8 * 16 * 32
BYTES = 4 * (8 * 16 + 16 * 32 + 8 * 32)


def product(dtype="float32"):
    x, w = jax.ShapeDtypeStruct((8, 16), dtype), jax.ShapeDtypeStruct((16, 32), dtype)
    return jax.make_jaxpr(lambda x, w: jnp.tanh(x @ w))(x, w)


def test_a_product_takes_its_operations_at_the_peak_of_its_dtype():
    found = estimate_step(product(), 0, PEAKS, bandwidth=1e30)
    assert (found.seconds, found.flops, found.bytes) == (pytest.approx(FLOPS / 5e11), FLOPS, BYTES)
    assert estimate_step(product("bfloat16"), 0, PEAKS, 1e30).seconds == pytest.approx(FLOPS / 1e12)


def test_a_dtype_without_a_peak_has_no_estimate():
    found = estimate_step(product("float16"), 0, PEAKS, bandwidth=1e3)
    assert isinstance(found, str) and "float16" in found


def test_a_product_takes_its_bytes_at_the_bandwidth_if_that_takes_longer():
    assert estimate_step(product(), 0, PEAKS, bandwidth=1e3).seconds == pytest.approx(BYTES / 1e3)


def test_the_update_moves_its_bytes():
    found = estimate_step(product(), 500, PEAKS, bandwidth=1e3)
    assert (found.seconds, found.bytes) == (pytest.approx((BYTES + 500) / 1e3), BYTES + 500)


def test_a_loops_products_count_as_often_as_they_run():
    def loop(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    jaxpr = jax.make_jaxpr(loop)(jnp.zeros((8, 16)), jnp.zeros((5, 16, 16)))
    assert estimate_step(jaxpr, 0, PEAKS, 1e30).flops == 5 * 2 * 8 * 16 * 16


def test_the_most_expensive_branch_of_a_conditional_counts():
    def either(p, x):
        return jax.lax.cond(p, lambda x: x @ x @ x, lambda x: x @ x, x)

    jaxpr = jax.make_jaxpr(either)(True, jnp.zeros((4, 4)))
    assert estimate_step(jaxpr, 0, PEAKS, 1e30).flops == 2 * 2 * 4**3
