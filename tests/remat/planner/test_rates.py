"""What devices are assumed to do, from their descriptions; and a budget met on one that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from artifex_bench import remat_to_budget
from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import make_step_compiler
from artifex_bench.remat.measure.rates import CPU, find_roofline, make_roofline
from artifex_bench.targets import compiler_versions, load_description, load_descriptions
from tests.build import replaced
from tests.test_views import ROOT


def equation(function, *args):
    return jax.make_jaxpr(function)(*args).eqns[-1]


@pytest.mark.parametrize("name", load_descriptions())
def test_every_description_gives_rates(name):
    found = make_roofline(load_description(name))
    assert found.dot_flops["bfloat16"] > found.vector_flops > found.special > 0
    assert (
        found.bytes_per_second == load_description(name).bandwidth
        and load_description(name).roofline_source in found.source
    )


def test_what_is_attached_is_taken_for_a_device_of_its_kind():
    assert find_roofline("cpu") is CPU
    h100, a100 = map(load_description, ("gpu:h100", "gpu:a100"))
    assert find_roofline("gpu") == find_roofline("gpu", h100) != find_roofline("gpu", a100)
    assert find_roofline("tpu") == make_roofline(load_description("tpu:v5e"))


@pytest.mark.parametrize(("dtype", "peak"), [("bfloat16", 989.4e12), ("float32", 494.7e12)])
def test_a_large_product_takes_its_flops_at_the_peak_of_its_dtype(dtype, peak):
    x = jnp.zeros((4096, 4096), dtype)
    cost = find_roofline("gpu").estimate_cost(equation(jnp.matmul, x, x))
    assert cost.flops == 2 * 4096**3
    assert cost.seconds == pytest.approx(cost.flops / peak)


def test_float64_products_take_the_time_of_float64():
    with jax.enable_x64(True):
        x = jnp.zeros((4096, 4096), "float64")
        eqn = equation(jnp.matmul, x, x)
    assert find_roofline("gpu").estimate_cost(eqn).seconds == pytest.approx(2 * 4096**3 / 67e12)
    assert find_roofline("gpu").find_unknown_dtype(eqn) is None
    assert find_roofline("tpu").find_unknown_dtype(eqn) == "float64"  # XLA emulates it: a TPU has no such unit


def test_plans_for_products_without_a_known_rate_have_no_estimated_times():
    def loss(w_LDD, x_D):
        return jax.lax.scan(lambda x, w: (jnp.tanh(w @ x), None), x_D, w_LDD)[0].sum()

    where = make_step_compiler(LOCAL)
    unknown = replaced(where, roofline=replaced(CPU, dot_flops={"bfloat16": 1e11}))
    args = jnp.zeros((4, 16, 16)), jnp.zeros(16)
    _, known = remat_to_budget(loss, *args, budget=0.5, target=where)
    _, plan = remat_to_budget(loss, *args, budget=0.5, target=unknown)
    assert (known.unrated_dtypes, plan.unrated_dtypes) == ((), ("float32",))
    assert known.extra_seconds is not None and plan.extra_seconds is None
    assert "ms" in str(known) and "estimated +" not in str(plan) and "float32" in str(plan)
    assert all(one["extra_seconds"] is None for one in (*plan.compiled, *plan.named_strategies))


def test_a_product_goes_to_memory_in_any_case_but_for_what_a_cache_holds():
    x = jnp.zeros((8, 8))
    product, other = equation(jnp.matmul, x, x), equation(jnp.exp, x)
    assert find_roofline("gpu").estimate_saving(product, 256) == 0
    assert find_roofline("gpu").estimate_saving(other, 256) == 512 / 3.35e12
    assert CPU.estimate_saving(product, 256) == CPU.estimate_saving(other, 256) == 512 / CPU.bytes_per_second


@pytest.mark.parametrize("name", [name for name in load_descriptions() if load_description(name).to_host])
def test_products_can_be_kept_on_the_host_where_the_way_there_is_known(name):
    x = jnp.zeros((8, 8))
    rates = find_roofline(load_description(name).platform, load_description(name)).make_rates()
    assert 0 < rates.to_host < load_description(name).bandwidth / 10 and load_description(name).to_host_source
    assert rates.offloading(equation(jnp.matmul, x, x), 256) == 512 / load_description(name).bandwidth
    assert rates.offloading(equation(jnp.exp, x), 256) is None
    assert CPU.make_rates().offloading(equation(jnp.matmul, x, x), 256) is None


CODE = """
import json
import jax.numpy as jnp
from artifex_bench import remat_to_budget
from tests.remat.planner.functions import forwards, weights
_, plan = remat_to_budget(forwards, weights(), jnp.ones((4096, 8)), budget=0.5, target="gpu:h100")
print(json.dumps(plan.to_json()))
"""


@pytest.mark.skipif(None in compiler_versions("gpu:h100").values(), reason="no compiler of GPUs: make aot")
def test_a_budget_is_met_on_a_device_that_is_not_there():
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["target"] == "gpu:h100" and 0 < plan["compiled_peak"] <= plan["budget_bytes"]
    assert not plan["measured_seconds"]
