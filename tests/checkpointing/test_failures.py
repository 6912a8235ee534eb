"""Full disks, read-only directories, kills: the failure is raised, and committed steps stay."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from artifex_bench.checkpointing import (
    CheckpointError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    DiskFullError,
    SaveFailedError,
    load_tree,
    save_tree,
    setup_checkpoint_manager,
)
from tests.checkpointing.conftest import assert_same, catch_error

# Orbax leaves coroutines behind where a write fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SMALL = {"w": np.arange(1000.0)}
LARGE = {f"w{i}": np.random.default_rng(i).standard_normal(2**18) for i in range(8)}  # 16 MiB
KILLS = int(os.environ.get("CHECKPOINT_KILLS", "3"))


@pytest.fixture
def tmpfs(tmp_path):
    """A file system of 8 MiB of its own, which only root may mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small tmpfs cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True, capture_output=True)


def settle(manager) -> None:
    while manager.is_saving_in_progress():
        time.sleep(0.01)


def intact(folder: Path) -> None:
    """Step 1 is the latest for this manager and for a new one, and is what was saved."""
    manager, _ = setup_checkpoint_manager(folder, read_only=True)
    with manager:
        assert manager.all_steps() == [1]
        assert_same(load_tree(manager, SMALL)[0], SMALL)


@pytest.mark.parametrize("format", ["zarr2", "ocdbt"])
def test_a_full_disk_is_raised_at_once_by_a_synchronous_save(tmpfs, manager_at, format):
    manager = save_tree(manager_at(tmpfs, format=format), 1, SMALL)
    with pytest.raises(DiskFullError) as caught:
        save_tree(manager, 2, LARGE)
    assert caught.value.step == 2 and manager.all_steps() == [1]
    intact(tmpfs)
    save_tree(manager, 2, SMALL)  # the space of what was half written is free again
    manager.close()  # made good


@pytest.mark.parametrize("call", ["save", "load", "wait_until_finished", "check_for_errors", "close", "with"])
def test_a_full_disk_is_raised_by_the_next_call_after_an_async_save(tmpfs, manager_at, call):
    manager = save_tree(manager_at(tmpfs, asynchronous=True), 1, SMALL)
    manager.wait_until_finished()

    def body() -> None:
        save_tree(manager, 2, LARGE)
        assert manager.latest_step() == 1
        settle(manager)
        assert manager.latest_step() == 1 and manager.all_steps() == [1]
        if call == "save":
            save_tree(manager, 3, SMALL)
        elif call == "load":
            load_tree(manager, SMALL)
        elif call == "with":
            with manager:
                pass
        else:
            getattr(manager, call)()

    assert catch_error(DiskFullError, body).step == 2
    assert manager.latest_step() == 1
    intact(tmpfs)


def test_a_failure_that_was_not_made_good_is_raised_again_at_the_end(tmpfs, manager_at):
    manager = save_tree(manager_at(tmpfs, asynchronous=True), 1, SMALL)
    with pytest.raises(DiskFullError):  # noqa: SIM117
        with manager:
            save_tree(manager, 2, LARGE)
            with pytest.raises(DiskFullError):
                manager.wait_until_finished()
    intact(tmpfs)


def test_the_error_of_the_body_goes_before_that_of_closing(tmpfs, manager_at):
    manager = save_tree(manager_at(tmpfs, asynchronous=True), 1, SMALL)
    with pytest.raises(ZeroDivisionError) as caught, manager:
        save_tree(manager, 2, LARGE)
        1 / 0  # noqa: B018
    assert "step 2" in caught.value.__notes__[0]


def test_training_goes_on_after_a_full_disk(tmpfs, manager_at):
    manager = save_tree(manager_at(tmpfs, asynchronous=True), 1, SMALL)
    save_tree(manager, 2, LARGE)
    with pytest.raises(DiskFullError):
        manager.wait_until_finished()
    save_tree(manager, 3, SMALL)
    manager.close()
    reader = manager_at(tmpfs, read_only=True)
    assert reader.all_steps() == [1, 3]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_disk_without_one_free_byte_is_raised_once_and_costs_no_other_save(tmpfs, manager_at, asynchronous):
    manager = save_tree(manager_at(tmpfs, asynchronous=asynchronous), 1, SMALL)
    manager.wait_until_finished()
    filler = tmpfs / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(DiskFullError) as caught:
        save_tree(manager, 2, SMALL)
        manager.wait_until_finished()
    assert caught.value.step == 2
    manager.check_for_errors()
    filler.unlink()
    save_tree(manager, 3, SMALL)
    manager.close()
    assert manager.all_steps() == [1, 3]


def test_a_directory_on_a_disk_that_is_full_already_can_be_read(tmpfs, manager_at):
    save_tree(manager_at(tmpfs), 1, SMALL).close()
    with pytest.raises(OSError, match="No space"), (tmpfs / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    manager = manager_at(tmpfs)
    assert_same(load_tree(manager, SMALL)[0], SMALL)
    with pytest.raises(DiskFullError):
        save_tree(manager, 2, SMALL)
    assert manager.all_steps() == [1]


def test_old_steps_are_not_deleted_for_one_that_failed(tmpfs, manager_at):
    from artifex_bench.checkpointing import Retention

    manager = save_tree(manager_at(tmpfs, asynchronous=True, retention=Retention(last=1)), 1, SMALL)
    save_tree(manager, 2, LARGE)
    with pytest.raises(DiskFullError):
        manager.wait_until_finished()
    assert manager.all_steps() == [1]
    intact(tmpfs)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_read_only_file_system_is_raised(tmpfs, manager_at, asynchronous):
    manager = save_tree(manager_at(tmpfs, asynchronous=asynchronous), 1, SMALL)
    manager.wait_until_finished()
    remount(tmpfs, "ro")
    with pytest.raises(CheckpointPermissionError) as caught:
        save_tree(manager, 2, SMALL)
        settle(manager)
        manager.check_for_errors()
    assert caught.value.step == 2 and str(tmpfs) in str(caught.value)
    assert manager.latest_step() == 1
    intact(tmpfs)
    with pytest.raises(CheckpointPermissionError, match="new"):
        setup_checkpoint_manager(tmpfs / "new")
    with pytest.raises(CheckpointPermissionError):
        manager.close()


def test_a_directory_that_disappears_is_raised(tmp_path, manager_at):
    manager = save_tree(manager_at(tmp_path / "gone"), 1, SMALL)
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "gone").write_text("a file now")
    assert catch_error(SaveFailedError, save_tree, manager, 2, SMALL).step == 2


VICTIM = """
import sys
import numpy as np
from artifex_bench.checkpointing import save_tree, setup_checkpoint_manager
manager, _ = setup_checkpoint_manager(sys.argv[1], asynchronous=True, format=sys.argv[2])
step = (manager.latest_step() or 0) + 1
while True:
    tree = {f"w{i}": np.full(2**17, float(step + i)) for i in range(8)}
    save_tree(manager, step, tree)
    print("saving", step, "committed", manager.latest_step(), flush=True)
    step += 1
"""


def test_the_last_committed_step_outlives_a_kill(tmp_path):
    """kill -9 in the middle of asynchronous saves, again and again in one directory (CHECKPOINT_KILLS times)."""
    chance = random.Random(0)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    for number in range(KILLS):
        command = [sys.executable, "-c", VICTIM, str(tmp_path), ("zarr2", "ocdbt")[number % 2]]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            for _ in range(chance.randrange(2, 5)):
                last = victim.stdout.readline().split()
            time.sleep(chance.random() * 0.15)
            victim.send_signal(signal.SIGKILL)
            rest = victim.stdout.read().splitlines()
        told = [line.split() for line in [" ".join(last), *rest] if line]
        committed = max(int(words[3]) for words in told if words[3] != "None")
        manager, _ = setup_checkpoint_manager(tmp_path)
        with manager:
            latest = manager.latest_step()
            assert latest is not None and latest >= committed
            for step in manager.all_steps():
                tree, _ = load_tree(manager, step=step)
                assert {name: set(w) for name, w in tree.items()} == {f"w{i}": {float(step + i)} for i in range(8)}


def test_what_a_kill_left_behind_does_not_stop_the_same_step(tmp_path, manager_at):
    manager = save_tree(manager_at(), 1, SMALL)
    left = manager.step_directory(2).with_name("2.orbax-checkpoint-tmp")
    shutil.copytree(manager.step_directory(1), left)
    manager.close()
    again = manager_at()
    assert again.all_steps() == [1]
    assert save_tree(again, 2, SMALL).all_steps() == [1, 2]


def test_every_failure_is_a_checkpoint_error():
    assert issubclass(DiskFullError, SaveFailedError) and issubclass(SaveFailedError, CheckpointError)
    assert issubclass(CheckpointPermissionError, CheckpointError)


def test_errors_are_pickled_with_their_attributes():
    error = CorruptCheckpointError("step 3 is damaged", step=3, file="f", paths=["tree/a", "tree/b"])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is CorruptCheckpointError and str(copy) == str(error)
    assert (copy.step, copy.file, copy.path, copy.paths) == (3, "f", "tree/a", ("tree/a", "tree/b"))
