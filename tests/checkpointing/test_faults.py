"""Damage is never returned as data: it is raised, or the data is what was saved.

CHECKPOINT_FAULTS sets the trials of each cell (format x dtype x fault x how the file is chosen); CHECKPOINT_FORMATS=all
goes through every format instead of three.
"""

from __future__ import annotations

import collections
import logging
import os
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from artifex_bench.checkpointing import (
    FORMATS,
    CheckpointError,
    CorruptCheckpointError,
    load_tree,
    save_tree,
    setup_checkpoint_manager,
)
from artifex_bench.checkpointing.faults import FAULTS, inject_fault, list_files, list_trials
from tests.checkpointing.conftest import bits, catch_error

TRIALS = int(os.environ.get("CHECKPOINT_FAULTS", "3"))
EVERY = list(FORMATS) if os.environ.get("CHECKPOINT_FORMATS") == "all" else ["zarr2", "zarr3", "ocdbt"]


def tree(dtype):
    chance = np.random.default_rng(0)
    return {
        "layers": [
            {"w": jnp.asarray(chance.standard_normal((64, 48)), dtype), "b": jnp.zeros(48, dtype)} for _ in range(2)
        ],
        "numpy": chance.standard_normal(100).astype(np.float32),
        "step": 7,
        "key": jax.random.key(1),
        "empty": {},
    }


def outcome(folder, template, expected):
    """`equal`, `raised` or `WRONG`: what came of loading the damaged checkpoint."""
    try:
        manager, _ = setup_checkpoint_manager(folder, read_only=True)
        with manager:
            loaded, step = load_tree(manager, template)
    except CheckpointError:
        return "raised"
    return "equal" if step == 1 and jax.tree.map(bits, loaded) == expected else "WRONG"


@pytest.mark.parametrize("by_size", [False, True], ids=["any-file", "by-size"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("format", EVERY)
def test_nothing_is_ever_silently_wrong(tmp_path, manager_at, format, dtype, by_size):
    logging.disable(logging.CRITICAL)  # Orbax logs each failure at length
    template = tree(dtype)
    save_tree(manager_at(tmp_path / "whole", format=format), 1, template, metrics={"loss": 1})
    expected = jax.tree.map(bits, template)
    seen = collections.Counter()
    try:
        for fault, seed in list_trials(TRIALS):
            shutil.copytree(tmp_path / "whole", tmp_path / "work")
            file, done = inject_fault(tmp_path / "work" / "1", fault, seed, by_size=by_size)
            result = outcome(tmp_path / "work", template, expected)
            assert result != "WRONG", f"{fault} {seed}: {file}: {done}"
            seen[result] += 1
            shutil.rmtree(tmp_path / "work")
    finally:
        logging.disable(logging.NOTSET)
    print(format, dtype, by_size, dict(seen))
    assert seen["raised"], "no fault did any harm: nothing was tried"


@pytest.mark.parametrize("format", ["zarr2", "ocdbt"])
def test_every_fault_to_the_data_itself_is_found(tmp_path, manager_at, format):
    template = {"w": np.random.default_rng(0).standard_normal((200, 100))}
    manager = save_tree(manager_at(format=format), 1, template)
    largest = max(list_files(manager.step_directory(1)), key=lambda f: f.stat().st_size)
    whole = largest.read_bytes()
    for fault in FAULTS.values():
        fault(largest, random.Random(1))
        assert catch_error(CorruptCheckpointError, load_tree, manager, template).step == 1
        largest.write_bytes(whole)
    assert load_tree(manager, template)[1] == 1


@pytest.mark.parametrize("what", ["folder", "file", "step metadata and folder", "item metadata and folder"])
def test_without_its_digests_a_checkpoint_does_not_pass_for_one_of_plain_orbax(manager_at, what):
    manager = save_tree(manager_at(), 1, {"w": np.ones(3)})
    step = manager.step_directory(1)
    if what == "file":
        (step / "digests" / "process_0.txt").unlink()
    else:
        shutil.rmtree(step / "digests")
    if "step metadata" in what:
        (step / "_CHECKPOINT_METADATA").unlink()
    if "item metadata" in what:
        (step / "tree" / "_METADATA").write_text("{")
    error = catch_error(CorruptCheckpointError, load_tree, manager, {"w": np.ones(3)})
    assert error.step == 1 and Path(error.file).is_relative_to(step / "digests")


def test_the_digests_of_another_step_are_refused(manager_at):
    manager = save_tree(save_tree(manager_at(), 1, {"w": np.ones(3)}), 2, {"w": np.zeros(3)})
    shutil.rmtree(manager.step_directory(2))
    shutil.copytree(manager.step_directory(1), manager.step_directory(2))
    error = catch_error(CorruptCheckpointError, load_tree, manager, {"w": np.ones(3)}, 2)
    assert error.step == 2 and error.file == str(manager.step_directory(2) / "digests" / "process_0.txt")


def test_arrays_that_changed_places_are_found(manager_at):
    manager = save_tree(manager_at(format="zarr2"), 1, {"a": np.ones(3), "b": np.zeros(3)})
    tree_folder = manager.step_directory(1) / "tree"
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (tree_folder / old).rename(tree_folder / new)
    error = catch_error(CorruptCheckpointError, load_tree, manager, {"a": np.ones(3), "b": np.zeros(3)})
    assert (error.path, error.paths) == ("tree/a", ("tree/a", "tree/b"))


def test_verification_can_be_left_out(manager_at):
    manager = save_tree(manager_at(format="zarr2"), 1, {"w": np.ones(3)})
    chunk = manager.step_directory(1) / "tree" / "w" / "0"
    chunk.write_bytes(np.full(3, 2.0).tobytes())
    assert load_tree(manager, {"w": np.ones(3)}, verify=False)[0]["w"].tolist() == [2, 2, 2]


def test_a_fault_is_the_same_for_the_same_seed_and_always_does_something(tmp_path):
    data = bytes(range(256)) * 40
    for name in FAULTS:
        ends = []
        for copy in ("one", "two"):
            folder = tmp_path / name / copy
            folder.mkdir(parents=True)
            for file in ("a", "b"):
                (folder / file).write_bytes(data)
            path, done = inject_fault(folder, name, seed=3)
            ends.append((path.name, done, path.read_bytes() if path.exists() else None))
        assert ends[0] == ends[1] and ends[0][2] != data
    (tmp_path / "zeros").write_bytes(bytes(100))
    inject_fault(tmp_path / "zeros", "zero_block", 0)
    assert (tmp_path / "zeros").read_bytes() != bytes(100)
    for unknown in ("melt", "flip-bit"):
        message = str(catch_error(ValueError, inject_fault, tmp_path, unknown, 0))
        assert all(name in message for name in (unknown, *FAULTS))
    (tmp_path / "none").mkdir()
    assert str(tmp_path / "none") in str(catch_error(ValueError, inject_fault, tmp_path / "none", "delete", 0))
