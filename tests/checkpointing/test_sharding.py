"""Sharded state: on eight devices of one process, and over two processes. Each in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from artifex_bench.checkpointing import (
    load_numpy,
    load_sharded_checkpoint,
    load_tree,
    save_sharded_checkpoint,
    save_tree,
    setup_checkpoint_manager,
)
from artifex_bench.checkpointing.nnx_models import extract_pure_state
from tests.checkpointing.conftest import Net, assert_same

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1])}


def test_on_eight_devices():
    environment = {**ENVIRONMENT, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "on_eight_devices.py")]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def both(folder: Path, phase: str) -> list[tuple[int, str]]:
    """(return code, what it printed) of the two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(HERE / "one_of_two.py")]
    pair = [
        subprocess.Popen(
            [*command, str(number), port, str(folder), phase],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=200) for process in pair]
    finally:
        for process in pair:
            process.kill()
    return [(process.returncode, out + err[-3000:]) for process, (out, err) in zip(pair, said, strict=True)]


def test_two_processes_save_and_restore_one_state(tmp_path):
    for phase in ("save", "load"):
        for code, said in both(tmp_path, phase):
            assert code == 0 and "fine" in said, said
    manager, _ = setup_checkpoint_manager(tmp_path, read_only=True)  # one process reads what two saved
    with manager:
        tree, step = load_tree(manager)
        assert step == 2 and tree["rows"].tolist() == tree["square"].tolist() == jnp.arange(64.0).reshape(8, 8).tolist()


def test_two_processes_are_one_writer(tmp_path, manager_at):
    """Where another writes, both are refused, and neither waits for the other."""
    manager = save_tree(manager_at(tmp_path), 0, {"n": 1})
    for code, said in both(tmp_path, "save"):
        assert code == 3 and "DirectoryInUseError" in said, said
    assert manager.all_steps() == [0]


def test_one_device_is_a_mesh_as_well(manager_at):
    model = Net(nnx.Rngs(0))
    manager = save_sharded_checkpoint(manager_at(), model, 1, num_shards=1)
    loaded, _ = load_sharded_checkpoint(manager, Net(nnx.Rngs(1)), onto=jax.devices()[0])
    assert_same(extract_pure_state(loaded), extract_pure_state(model))
    assert load_sharded_checkpoint(manager_at(manager.directory / "none"), model) == (None, None)
    assert load_numpy(manager_at(manager.directory / "none")) == (None, None)
    with pytest.raises(ValueError, match="num_shards"):
        save_sharded_checkpoint(manager, model, 2, num_shards=0)
