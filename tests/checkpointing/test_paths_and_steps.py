"""Any path and any step works, or is refused in one line before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from artifex_bench.checkpointing import (
    CheckpointError,
    UnsupportedPathError,
    load_checkpoint,
    load_numpy,
    load_sharded_checkpoint,
    load_tree,
    recover_from_corruption,
    save_checkpoint,
    save_sharded_checkpoint,
    save_training,
    save_tree,
    set_aside,
    setup_checkpoint_manager,
    setup_training_from_checkpoint,
    validate_checkpoint,
)
from tests.checkpointing.conftest import assert_same, catch_error
from tests.checkpointing.test_resume import model, start

TREE = {"w": np.arange(3.0)}


NO_PATHS = [
    "s3://bucket/run",
    "gs://bucket",
    "gs:/bucket",
    "file:///tmp/run",
    "memory://run",
    "https://host/run",
    Path("s3://bucket/run"),
    "folder/gs:/run",
    "back\\slash",
    "run[1]",
    "run*",
    "run?",
    "~nobody-of-this-name/run",
    "",
    "nul\0",
    "two\nlines",
    "\udcff",
    b"bytes",
    None,
    3,
]


@pytest.mark.parametrize("path", NO_PATHS, ids=repr)
def test_what_is_no_local_path_is_refused_and_nothing_is_made(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    for call in (
        setup_checkpoint_manager,
        lambda p: setup_checkpoint_manager(p, read_only=True),
        lambda p: recover_from_corruption(p, model()),
        lambda p: setup_training_from_checkpoint(p, start),
    ):
        catch_error(UnsupportedPathError, call, path)
    assert os.listdir(tmp_path) == []
    assert issubclass(UnsupportedPathError, CheckpointError) and issubclass(UnsupportedPathError, ValueError)


def test_a_working_directory_with_a_backslash_is_refused(tmp_path, monkeypatch):
    (tmp_path / "back\\slash").mkdir()
    monkeypatch.chdir(tmp_path / "back\\slash")
    catch_error(UnsupportedPathError, setup_checkpoint_manager, "run")


def test_the_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with setup_checkpoint_manager("~/run")[0] as manager:
        assert load_tree(save_tree(manager, 1, TREE), TREE)[1] == 1
    assert (tmp_path / "run" / "1").is_dir()


@pytest.mark.parametrize("name", ["a b", "50%", "a#b", "a]", "{a}", "$HOME", "ü", "a:b", "-", "x" * 200])
def test_other_names_of_folders_are_right(tmp_path, manager_at, name):
    manager = save_tree(save_tree(manager_at(tmp_path / name, format="ocdbt"), 1, TREE), 2, TREE)
    manager.delete(1)
    assert_same(load_tree(manager, TREE)[0], TREE)
    assert os.listdir(tmp_path) == [name] and "2" in os.listdir(tmp_path / name)


def test_paths_that_the_file_system_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for path in ("file", "file/below", "loop", "broken", "x" * 300, "x/" * 3000):
        for read_only in (False, True):
            catch_error(CheckpointError, setup_checkpoint_manager, tmp_path / path, read_only=read_only)
    assert sorted(os.listdir(tmp_path)) == ["broken", "file", "loop"]


def test_options_are_checked_before_a_directory_is_made(tmp_path):
    for options in ({"format": "zip"}, {"retention": 3}):
        catch_error(ValueError, setup_checkpoint_manager, tmp_path / "new", **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", [int, np.int8, np.uint64, np.int64, jnp.int32, jnp.uint8, np.array], ids=str)
def test_integers_of_numpy_and_jax_are_steps(manager_at, kind):
    manager = save_tree(manager_at(), kind(3), TREE)
    assert manager.all_steps() == [3] and type(manager.latest_step()) is int
    step = load_tree(manager, TREE, kind(3))[1]
    assert step == 3 and type(step) is int
    save_training(manager, start(step=kind(4)))
    set_aside(manager, kind(4))
    manager.delete(kind(3))
    assert manager.all_steps() == []


NO_STEPS = [True, np.True_, 1.0, np.float32(1), "1", b"1", -1, 2**63, 10**260, 10**5000, [1], np.array([1]), 1j]


@pytest.mark.parametrize("step", NO_STEPS, ids=lambda step: type(step).__name__)
def test_what_is_no_step_is_refused(manager_at, step):
    manager = save_checkpoint(manager_at(), model(), 1)
    for call in (
        lambda s: save_tree(manager, s, TREE),
        lambda s: save_checkpoint(manager, model(), s),
        lambda s: save_sharded_checkpoint(manager, model(), s),
        lambda s: save_training(manager, start(step=s)),
        lambda s: load_tree(manager, TREE, s),
        lambda s: load_numpy(manager, s),
        lambda s: load_checkpoint(manager, model(), s),
        lambda s: load_sharded_checkpoint(manager, model(), s),
        lambda s: validate_checkpoint(manager, model(), s, jnp.ones((1, 2))),
        lambda s: set_aside(manager, s),
        manager.delete,
    ):
        catch_error(ValueError, call, step)
    assert manager.all_steps() == [1]
