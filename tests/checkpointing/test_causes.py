"""What keeps a step from being read is named: another process that deletes it, a permission, a limit of this process.

None of these is damage, and none of them hides a good step.
"""

from __future__ import annotations

import contextlib
import gc
import grp  # noqa: F401  pathlib imports it when first needed, and nobody may not read Python's own files everywhere
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from orbax.checkpoint._src import asyncio_utils

from artifex_bench.checkpointing import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    StepDeletedError,
    digests,
    load_items,
    load_tree,
    recover,
    recover_from_corruption,
    save_checkpoint,
    save_training,
    save_tree,
    set_aside,
    setup_checkpoint_manager,
    setup_training_from_checkpoint,
)
from tests.checkpointing.conftest import assert_same, catch_error, overwritten
from tests.checkpointing.test_resume import start

TREE = {"w": np.arange(6.0), "deep": {"b": jnp.ones(3)}}
NOBODY = 65534


@pytest.fixture
def folder():
    """A folder that every user may enter, which those of pytest are not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made / "checkpoints"
    shutil.rmtree(made)


@contextlib.contextmanager
def as_a_user_without(*closed: Path):
    """Nobody may read these paths, nor be root, who may read everything."""
    before = [(path, path.stat().st_mode) for path in closed]
    root = os.geteuid() == 0
    for path in closed:
        path.chmod(0)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in before:
            path.chmod(mode)


@pytest.mark.parametrize(
    ("format", "part"),
    [
        ("zarr2", "tree"),
        ("zarr2", "tree/w"),
        ("zarr2", "tree/w/0"),
        ("zarr2", "tree/_METADATA"),
        ("zarr2", "digests"),
        ("zarr2", "digests/process_0.txt"),
        ("zarr2", "."),
        ("zarr3", "tree/deep.b"),
        ("ocdbt", "tree"),
        ("ocdbt", "tree/d"),
        ("ocdbt", "tree/manifest.ocdbt"),
    ],
)
def test_a_part_that_may_not_be_read_is_no_damage(folder, manager_at, format, part):
    save_tree(save_tree(manager_at(folder, format=format), 1, TREE), 2, TREE).close()
    reader = manager_at(folder, read_only=True)
    with as_a_user_without(folder / "2" / part):
        for load in (load_tree, lambda m, t: recover(m, {"tree": t})):
            error = catch_error(CheckpointPermissionError, load, reader, TREE)
            assert error.step == 2 and str(folder / "2") in str(error)
        with pytest.raises(CheckpointPermissionError):
            recover_from_corruption(folder, nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
    assert_same(load_tree(reader, TREE)[0], TREE)


def test_training_is_not_started_anew_over_steps_that_may_not_be_read(folder):
    state, manager = setup_training_from_checkpoint(folder, start)
    with manager:
        save_training(manager, state)
    with as_a_user_without(folder / "0" / "model"), pytest.raises(CheckpointPermissionError):
        setup_training_from_checkpoint(folder, start)
    assert not (folder / "damaged").exists()


def test_a_directory_that_may_not_be_read_or_changed_raises(folder, manager_at):
    save_tree(manager_at(folder), 1, TREE).close()
    reader, writer = manager_at(folder, read_only=True), manager_at(folder)
    with as_a_user_without():
        for change in (writer.delete, lambda step: set_aside(writer, step)):
            assert catch_error(CheckpointPermissionError, change, 1).step == 1
        error = catch_error(CheckpointPermissionError, setup_checkpoint_manager, folder / "new" / "one")
        assert str(folder / "new" / "one") in str(error)
    with as_a_user_without(folder):
        for read in (lambda: setup_checkpoint_manager(folder), lambda: load_tree(reader, TREE)):
            assert str(folder) in str(catch_error(CheckpointPermissionError, read))
    assert load_tree(reader, TREE)[1] == 1
    shutil.rmtree(folder)
    error = catch_error(CheckpointNotFoundError, load_tree, reader, TREE)
    assert error.step is None and str(folder) in str(error)


def test_a_lack_of_file_handles_is_no_damage(tmp_path, manager_at):
    state, manager = setup_training_from_checkpoint(tmp_path, start)
    with manager:
        save_checkpoint(manager, state.model, 1)
    reader = manager_at(tmp_path, read_only=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = set(map(int, os.listdir("/proc/self/fd")))
    free = [number for number in range(max(taken) + 20) if number not in taken]
    seen = set()
    try:
        for last in free[1:12]:
            resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
            try:
                load_items(reader, {"model": None})
            except CheckpointError as error:
                seen.add(type(error))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == {CheckpointError}
    assert load_items(reader, {"model": None}).step == 1


@pytest.fixture
def deleting(monkeypatch):
    """Between its digests and its arrays, step 1 is deleted: at once, or file by file as another process does."""
    read = digests.read_manifest

    def start_deleting(how):
        def read_and_delete(step_directory, step):
            manifest = read(step_directory, step)
            files = sorted(path for path in step_directory.rglob("*") if path.is_file())
            if step == 1 and how == "at once":
                shutil.rmtree(step_directory)
            elif step == 1:
                files[0].unlink()
                thread = threading.Thread(target=slowly, args=(step_directory, files[1:]))
                thread.start()
                monkeypatch.setattr(digests, "read_manifest", read)
                threads.append(thread)
                overwritten(files[-1])  # whatever it is that cannot be read any more
            return manifest

        monkeypatch.setattr(digests, "read_manifest", read_and_delete)

    def slowly(step_directory, files):
        for file in files:
            time.sleep(0.05)
            file.unlink()
        shutil.rmtree(step_directory)

    threads: list[threading.Thread] = []
    yield start_deleting
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("how", ["at once", "file by file"])
def test_a_step_deleted_while_it_is_read_is_no_damage(manager_at, deleting, how):
    manager = save_tree(save_tree(manager_at(), 1, TREE), 2, TREE)
    deleting(how)
    assert catch_error(StepDeletedError, load_tree, manager_at(read_only=True), TREE, 1).step == 1
    assert load_tree(manager, TREE)[1] == 2


def test_the_step_that_takes_its_place_is_loaded(manager_at, deleting, monkeypatch):
    manager = save_tree(manager_at(), 1, TREE)
    reader = manager_at(read_only=True)
    deleting("at once")
    read = digests.read_manifest

    def save_first(step_directory, step):
        if not manager.step_directory(2).exists():
            save_tree(manager, 2, TREE)
        return read(step_directory, step)

    monkeypatch.setattr(digests, "read_manifest", save_first)
    assert load_tree(reader, TREE)[1] == 2
    assert manager.step_directory(1).exists() is False


def test_that_nothing_verifies_is_not_said_where_a_step_was_deleted(manager_at, deleting):
    save_tree(manager_at(), 1, TREE)
    reader = manager_at(read_only=True)
    deleting("at once")
    with pytest.raises(StepDeletedError):
        recover(reader, {"tree": TREE})
    assert recover(reader, {"tree": TREE}).loaded is None  # now there is no step at all


def test_damage_is_still_damage(manager_at):
    manager = save_tree(save_tree(manager_at(format="zarr2"), 1, TREE), 2, TREE)
    for step in (1, 2):
        overwritten(manager.step_directory(step) / "tree/w/0")
        error = catch_error(CorruptCheckpointError, load_tree, manager, TREE, step)
        assert (error.step, error.paths) == (step, ("tree/w",))


@pytest.mark.parametrize("format", ["zarr2", "ocdbt", "plain"])
def test_a_read_that_fails_prints_nothing_and_changes_nothing_of_orbax(manager_at, monkeypatch, format):
    """Orbax closes its event loop while TensorStore still reads the other arrays, whose ends then find it closed."""
    run_sync = asyncio_utils.run_sync
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(str(unraisable.exc_value)))
    tree = {f"w{i}": jnp.ones((64, 64)) for i in range(16)}
    manager = manager_at(format=format if format != "plain" else "auto")
    if format == "plain":
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as plain:
            plain.save(manager.step_directory(1) / "tree", tree)
    else:
        save_tree(manager, 1, tree)
    for file in sorted((manager.step_directory(1) / "tree").rglob("*")):
        if file.is_file() and file.parent.name in ("d", "w3", "w9") and file.name != ".zarray":
            file.write_bytes(file.read_bytes()[:100])
    for _ in range(5):
        with pytest.raises(CorruptCheckpointError):
            load_tree(manager, tree)
    gc.collect()
    assert seen == []
    assert asyncio_utils.run_sync is run_sync
