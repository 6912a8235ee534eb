"""Private and changing APIs of JAX: each entry of compat, with the installed JAX and both versions of remat."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name as attach

from artifex_bench import compat
from artifex_bench.core import store, versions
from artifex_bench.remat.measure.jaxprs import count_flops
from tests.cli.test_cli import SMOKE, call

X = jax.ShapeDtypeStruct((4, 8), "float32")
W = jax.ShapeDtypeStruct((3, 8, 8), "float32")
on = pytest.param(True, marks=pytest.mark.skipif(not versions.has_remat3(), reason="needs jax 0.12 or later"))


@pytest.fixture(params=[False, on], ids=["classic", "remat3"], autouse=True)
def remat3(request, choose_remat3):
    choose_remat3(request.param)
    return request.param


def layer(w, x):
    return x + jnp.tanh(attach(x @ w, "hidden")) @ w


def equations(function, *arguments):
    program, _ = compat.open_program(jax.make_jaxpr(function)(*arguments))
    return program.eqns


def test_the_installed_jax_is_in_the_tested_range():
    assert versions.untested_jax() is None
    assert str(versions.tested_jax()) == "<0.13,>=0.10"


def test_inputs_of_a_scan():
    def function(w, scale, x):
        return jax.lax.scan(lambda c, w: ((c[0] @ w * scale, c[1] + 1), c[0]), (x, 0), w)

    [eqn] = [one for one in equations(function, W, X, X) if one.primitive.name == "scan"]
    consts, carry = compat.scan_inputs(eqn.params)
    assert (consts, carry) == (1, 2)
    assert [var.aval.shape for var in eqn.invars[consts + carry :]] == [(3, 8, 8)]


@pytest.mark.parametrize("remat", [jax.checkpoint, nnx.remat])
@pytest.mark.parametrize("prevent_cse", [True, False])
def test_checkpoint_call_returns_the_call(remat, prevent_cse):
    [eqn] = equations(remat(layer, prevent_cse=prevent_cse), jax.ShapeDtypeStruct((8, 8), "float32"), X)
    call = compat.checkpoint_call(eqn)
    assert call is not None and call.prevent_cse is prevent_cse
    assert compat.operation_name(eqn) == "checkpoint"
    inner, consts = compat.open_program(call.program)
    assert list(consts) == []
    names = [compat.operation_name(one) for one in inner.eqns]
    assert names == ["dot_general", "name", "tanh", "dot_general", "add"]
    assert list(compat.inner_programs(eqn)) == [inner]
    assert [compat.checkpoint_name(one) for one in inner.eqns] == [None, "hidden", None, None, None]


def test_other_equations_are_neither_calls_nor_names():
    for eqn in equations(jax.jit(lambda x: jnp.sin(x)), X):
        assert compat.checkpoint_call(eqn) is None and compat.checkpoint_name(eqn) is None
        assert compat.operation_name(eqn) == eqn.primitive.name


def test_dead_code_is_left_out():
    def function(w, x):
        _ = jnp.sin(x) @ w[0]
        return jnp.cos(x)

    live = compat.live_program(jax.make_jaxpr(function)(W, X))
    assert [eqn.primitive.name for eqn in live.eqns] == ["cos"]


def test_recomputed_flops_are_counted():
    def loss(policy):
        def function(w, x):
            remat = jax.checkpoint(layer, policy=policy)
            for i in range(3):
                x = remat(w[i], x)
            return jnp.sum(x**2)

        return count_flops(jax.make_jaxpr(jax.grad(function))(W, X))

    policies = jax.checkpoint_policies
    product = 2 * 4 * 8 * 8
    assert loss(None) - loss(policies.save_only_these_names("hidden")) == pytest.approx(3 * product, rel=0.3)


def test_bind_again_keeps_scope_and_source_line():
    def function(x):
        with jax.named_scope("mine"):
            return jnp.sin(x)

    [eqn] = equations(function, X)

    def again(x):
        with jax.named_scope("around"), compat.as_traced(eqn):
            [y] = compat.bind_again(eqn, [x])
        return y

    [other] = equations(again, X)
    assert other.primitive.name == "sin"
    assert str(other.source_info.name_stack) == "around/mine"
    assert "test_compat.py" in compat.source_line(other)


@pytest.mark.parametrize("inner", ["hidden", "other"])
def test_classic_remat_ignores_the_setting(inner):
    def loss(w, x):
        policy = jax.checkpoint_policies.save_only_these_names(inner)
        with compat.classic_remat():
            return jnp.sum(jax.checkpoint(layer, policy=policy)(w[0], x))

    assert [eqn.primitive.name for eqn in equations(loss, W, X)].count("remat2") == 1
    w, x = jnp.ones((3, 8, 8)) / 8, jnp.ones((4, 8))
    plain = jax.grad(lambda w, x: jnp.sum(layer(w[0], x)))(w, x)
    assert jnp.allclose(jax.jit(jax.grad(loss))(w, x), plain)


def list_warnings(version):
    """Return the warnings of a process in which the installed JAX has that version."""
    code = (
        "import importlib.metadata as m, sys\n"
        "real = m.version\n"
        f"m.version = lambda name: {version!r} if name == 'jax' else real(name)\n"
        "import artifex_bench.compat, artifex_bench.remat.to_budget, artifex_bench.remat.measure.stages"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if "Warning" in line]


@pytest.mark.parametrize(("version", "lines"), [("0.13.0", 1), ("0.13.0.dev1", 1), ("0.12.9", 0), ("0.9.2", 1)])
def test_an_untested_jax_is_warned_about_once(version, lines):
    warnings = list_warnings(version)
    assert len(warnings) == lines
    assert all(version in line for line in warnings)


@pytest.mark.parametrize(("version", "lines"), [("0.13.0", 1), ("0.12.1", 0)])
def test_measuring_commands_warn_about_an_untested_jax(version, lines, monkeypatch, tmp_path, fake):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "jax" else real(name))
    fake()
    done = call(*SMOKE, "--out", tmp_path)
    assert (done.exit_code, done.stderr.count(f"jax {version} ")) == (0, lines)
    for command in ("profile", "max-batch"):
        refused = call(command, "--out", tmp_path, "--depth", "0")
        assert (refused.exit_code, refused.stderr.count(f"jax {version} ")) == (2, lines)


@pytest.mark.parametrize(("version", "refuses"), [("0.11.2", True), ("0.12.0", False)])
def test_remat3_is_refused_before_jax_0_12(version, refuses, monkeypatch, tmp_path, fake):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "jax" else real(name))
    assert versions.has_remat3() is not refuses
    arguments = (*SMOKE, "--out", tmp_path, "--remat3", "off,on")
    log = fake()
    if refuses:
        stderr = call(*arguments).stderr
        assert "remat3 'on'" in stderr and "jax 0.12" in stderr
        assert log == [] and not (tmp_path / "run" / "records.jsonl").exists()
        with pytest.raises(RuntimeError, match=r"jax 0\.12"):
            compat.set_remat3(True)
    else:
        assert call(*arguments).exit_code == 0
        assert {one.case.remat3 for one in store.load_records(tmp_path / "run")} == {"off", "on"}


@pytest.mark.parametrize(("setting", "remat3"), [("1", "on"), ("true", "on"), ("0", "off"), ("", "off")])
def test_jax_remat3_of_the_environment_is_the_default_of_the_axis(setting, remat3, monkeypatch, tmp_path, fake):
    monkeypatch.setenv("JAX_REMAT3", setting)
    monkeypatch.setattr(versions, "has_remat3", lambda: True)
    fake()
    assert call(*SMOKE, "--out", tmp_path).exit_code == 0
    assert {one.case.remat3 for one in store.load_records(tmp_path / "run")} == {remat3}
