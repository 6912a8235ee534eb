"""The examples of docs/frameworks.md, each in the frameworks that are installed here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from artifex_bench import load_run
from artifex_bench.checkpointing import load_tree, save_tree, setup_checkpoint_manager

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "frameworks.md").read_text()
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}
IMPORTS = {"Plain JAX": "jax", "Flax linen": "flax.linen", "Equinox": "equinox", "Haiku": "haiku", "Keras": "keras"}
SWEEP = "Use your layers in a sweep"


def get_example(title):
    [block] = re.findall(r"```python\n(.*?)```", SECTIONS[title], re.DOTALL)
    return block


def test_every_section_with_an_example_is_run():
    titles = {title for title, text in SECTIONS.items() if "```python" in text}
    assert titles == {*IMPORTS, SWEEP}


@pytest.mark.parametrize("title", IMPORTS)
def test_a_loss_meets_its_budget_and_keeps_its_gradients(title, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(IMPORTS[title])
    names = {}
    exec(compile(get_example(title), title, "exec"), names)
    loss, planned, plan, params = (names[name] for name in ("loss", "planned", "plan", "params"))
    assert plan.compiled_peak <= plan.budget_bytes
    assert plan.extra_flops > 0  # the budget is below the peak without rematerialization
    steps = (
        jax.jit(jax.value_and_grad(loss)),
        jax.jit(jax.value_and_grad(planned), compiler_options=plan.compiler_options),
    )
    ours, theirs = (jax.tree.leaves(step(params, names["x"])) for step in steps)
    assert len(ours) > 1
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)

    manager, _ = setup_checkpoint_manager(tmp_path)
    save_tree(manager, 1, params)
    restored, step = load_tree(manager, params)
    manager.close()
    assert step == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, params, restored))


# init_layer and apply_layer in place of those of the page
WRAPPED = {
    "jax": "",
    "flax.linen": """
import flax.linen as nn

class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(x)))

def init_layer(key, width):
    return Block(width).init(key, jnp.zeros((1, width)))

def apply_layer(params, x):
    return Block(x.shape[-1]).apply(params, x)
""",
    "equinox": """
import equinox as eqx

class Block(eqx.Module):
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key, width):
        up, down = jax.random.split(key)
        self.up = eqx.nn.Linear(width, 4 * width, key=up)
        self.down = eqx.nn.Linear(4 * width, width, key=down)

    def __call__(self, x):
        return x + jax.vmap(self.down)(jax.nn.gelu(jax.vmap(self.up)(x)))

def init_layer(key, width):
    return eqx.filter(Block(key, width), eqx.is_array)

def apply_layer(params, x):
    return eqx.combine(params, eqx.filter_eval_shape(Block, jax.random.key(0), x.shape[-1]))(x)
""",
    "haiku": """
import haiku as hk

def apply_block(x):
    return x + hk.Linear(x.shape[-1])(jax.nn.gelu(hk.Linear(4 * x.shape[-1])(x)))

block = hk.without_apply_rng(hk.transform(apply_block))
apply_layer = block.apply

def init_layer(key, width):
    return block.init(key, jnp.zeros((1, width)))
""",
    "keras": """
import keras

def make_block(width):
    block = keras.Sequential([keras.layers.Dense(4 * width, activation="gelu"), keras.layers.Dense(width)])
    block.build((None, width))
    return block

def init_layer(key, width):
    shapes = [variable.value.shape for variable in make_block(width).trainable_variables]
    keys = jax.random.split(key, len(shapes))
    return [width**-0.5 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes)]

BLOCK = make_block(64)

def apply_layer(params, x):
    return x + BLOCK.stateless_call(params, [], x)[0]
""",
}


@pytest.mark.parametrize("framework", WRAPPED)
def test_layers_of_another_framework_run_in_a_sweep(framework, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(framework)
    (tmp_path / "wrapped.py").write_text(get_example(SWEEP) + WRAPPED[framework])
    [command] = re.findall(r"^artifex-bench (run .*)$", SECTIONS[SWEEP], re.MULTILINE)
    options = ["--layers", "scan", "--rounds", "1", "--steps", "2", "--out", "runs"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    command = [sys.executable, "-m", "artifex_bench", *command.split(), *options]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    table = load_run(folder)
    assert set(table.strategy) == {"none", "all", "dots_saveable"}
    assert set(table.status) == {"ok"}
    assert table[table.strategy != "none"].agrees.all()
