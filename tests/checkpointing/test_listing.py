"""Steps are listed anew: what another process saves and deletes is seen, and no good step is missed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from artifex_bench.checkpointing import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointPermissionError,
    Retention,
    load_tree,
    recover_from_corruption,
    save_tree,
    set_aside,
    steps,
)
from tests.checkpointing.conftest import catch_error

TREE = {"w": np.arange(6.0), "deep": {"b": jnp.ones(3)}}

SAVER = """
import sys
from flax import nnx
from artifex_bench.checkpointing import Retention, save_checkpoint, setup_checkpoint_manager
manager, _ = setup_checkpoint_manager(sys.argv[1], retention=Retention(last=1))
model = nnx.Linear(64, 64, rngs=nnx.Rngs(0))
step = 0
while True:
    step += 1
    save_checkpoint(manager, model, step)
    print(step, flush=True)
"""


def test_a_good_step_is_found_while_another_process_saves_and_deletes(tmp_path):
    """The process that saves keeps one step: each listing is out of date as soon as it is made."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    template = nnx.Linear(64, 64, rngs=nnx.Rngs(1))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as saver:
        try:
            assert saver.stdout is not None and saver.stdout.readline() == "1\n"
            last, tries, end = 1, 0, time.monotonic() + 3
            while time.monotonic() < end or tries < 20:
                model, step = recover_from_corruption(tmp_path, template)
                assert model is not None and step >= last
                last, tries = step, tries + 1
        finally:
            saver.kill()
    assert last > 1


def test_a_read_only_manager_sees_what_another_manager_saves_and_deletes(manager_at):
    writer = save_tree(manager_at(retention=Retention(last=2, best=1, metric="loss")), 1, TREE, metrics={"loss": 3})
    reader = manager_at(read_only=True, retention=Retention(best=1, metric="loss"))
    assert reader.latest_step() == 1
    for step in (2, 3, 4):
        save_tree(writer, step, {**TREE, "w": np.full(6, float(step))}, metrics={"loss": abs(step - 3)})
    assert reader.all_steps() == [3, 4] and reader.latest_step() == 4 and reader.best_step() == 3
    assert load_tree(reader, TREE)[0]["w"].tolist() == [4] * 6 and load_tree(reader, TREE, 3)[1] == 3
    error = catch_error(CheckpointNotFoundError, load_tree, reader, TREE, 1)
    assert (error.step, error.available_steps) == (1, (3, 4))


def test_a_read_only_manager_changes_nothing(manager_at):
    writer = save_tree(manager_at(), 1, TREE)
    reader = manager_at(read_only=True)
    save_tree(writer, 2, TREE)
    before = sorted(Path(reader.directory).rglob("*"))
    for change in (reader.delete, lambda step: set_aside(reader, step), lambda step: save_tree(reader, step + 5, TREE)):
        assert catch_error(CheckpointPermissionError, change, 1).step in (1, 6)
    assert sorted(Path(reader.directory).rglob("*")) == before


def test_a_step_that_another_manager_saved_is_loaded_and_deleted(manager_at):
    first = manager_at()
    save_tree(save_tree(manager_at(), 1, TREE), 2, TREE).close()
    assert load_tree(first, TREE)[1] == 2 and load_tree(first, TREE, 2)[1] == 2
    first.delete(2)
    assert first.all_steps() == [1]


class Turnover:
    """A directory in which, during the first listing, step 1 gives way to step 2: the listing shows neither."""

    def __init__(self, directory):
        self.directory, self.listings, self.scandir = directory, 0, os.scandir

    def __call__(self, directory):
        self.listings += 1
        if self.listings != 2:  # the first only looks whether the directory is there
            return self.scandir(directory)
        (self.directory / "1").rename(self.directory / "2")
        return contextlib.nullcontext([])


def test_an_empty_listing_is_not_believed_at_once(tmp_path, manager_at, monkeypatch):
    reader = manager_at(tmp_path, read_only=True)
    (tmp_path / "1").mkdir()
    monkeypatch.setattr(steps.os, "scandir", turnover := Turnover(tmp_path))
    assert reader.all_steps() == [2] and turnover.listings == 4


def test_steps_are_set_aside_beside_each_other(manager_at):
    manager = manager_at()
    places = []
    for step in (20, 2, 2, 2):
        places.append(set_aside(save_tree(manager, step, TREE), step).name)
        if len(places) == 3:
            shutil.rmtree(Path(manager.directory) / "damaged" / "2")
    assert places == ["20", "2", "2-1", "2"]
    save_tree(manager, 2, TREE)
    shutil.rmtree(Path(manager.directory) / "damaged")
    (Path(manager.directory) / "damaged").write_text("a file")
    assert "damaged" in str(catch_error(CheckpointError, set_aside, manager, 2))
    assert manager.all_steps() == [2]


def test_folders_whose_numbers_no_step_can_have_are_no_steps(manager_at):
    manager = save_tree(manager_at(), 1, TREE)
    for name in (str(2**63), "9" * 200, "-3", "07", "\u0663", "1.5"):
        (manager.directory / name).mkdir()
    assert manager.all_steps() == [1] and load_tree(manager, TREE)[1] == 1
    assert save_tree(manager, 2, TREE).all_steps() == [1, 2]
