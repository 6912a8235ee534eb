"""Who writes when: threads take turns, one manager at a time writes to a directory."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from artifex_bench.checkpointing import (
    KEEP_ALL,
    CheckpointError,
    DirectoryInUseError,
    Retention,
    StepExistsError,
    directory_lock,
    load_tree,
    orbax_handlers,
    recover,
    save_tree,
    set_aside,
    setup_checkpoint_manager,
)
from artifex_bench.checkpointing.directory_lock import LOCK_FILE
from tests.checkpointing.conftest import catch_error


def tree(step: int) -> dict[str, np.ndarray]:
    return {f"w{i}": np.full(1000, float(step + i)) for i in range(4)}


def holds(manager, step: int) -> bool:
    loaded, _ = load_tree(manager, step=step)
    return {name: set(w) for name, w in loaded.items()} == {f"w{i}": {float(step + i)} for i in range(4)}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_threads_that_save_take_turns(manager_at, asynchronous):
    manager = manager_at(retention=KEEP_ALL, asynchronous=asynchronous)
    together = threading.Barrier(2)

    def save(steps) -> list[int]:
        saved = []
        together.wait()
        for step in steps:
            try:
                save_tree(manager, step, tree(step))
                saved.append(step)
            except StepExistsError:  # the other one was faster
                continue
        return saved

    with ThreadPoolExecutor(2) as pool:
        saved = [step for steps in pool.map(save, (range(0, 14, 2), range(1, 14, 2))) for step in steps]
    manager.wait_until_finished()
    assert manager.all_steps() == sorted(saved) and max(saved) in (12, 13)
    assert all(holds(manager, step) for step in saved)


def test_a_step_is_not_deleted_while_another_thread_loads_it(manager_at):
    manager = save_tree(manager_at(retention=Retention(last=1)), 0, tree(0))
    done = threading.Event()

    def load() -> int:
        count = 0
        while not done.is_set():
            loaded, step = load_tree(manager)
            assert set(loaded["w0"]) == {float(step)}
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        loads = pool.submit(load)
        for step in range(1, 12):
            save_tree(manager, step, tree(step))
        done.set()
        assert loads.result()


@pytest.mark.parametrize("change", ["save", "delete", "set aside"])
def test_a_signal_handler_does_not_change_what_a_save_is_changing(manager_at, monkeypatch, change):
    """Orbax would wait in the handler for the save that the handler interrupts."""
    manager = save_tree(manager_at(), 1, tree(1))
    changes = {
        "save": lambda: save_tree(manager, 3, tree(3)),
        "delete": lambda: manager.delete(1),
        "set aside": lambda: set_aside(manager, 1),
    }
    refusals: list[CheckpointError] = []

    def handle(*_) -> None:
        refusals.append(catch_error(CheckpointError, changes[change]))

    def write_and_signal(*arguments) -> None:
        monkeypatch.setattr(orbax_handlers, "_write_digests", write)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not refusals:
            time.sleep(0.01)
        write(*arguments)

    write = orbax_handlers._write_digests
    monkeypatch.setattr(orbax_handlers, "_write_digests", write_and_signal)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        save_tree(manager, 2, tree(2))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert type(refusals[0]) is CheckpointError and manager.all_steps() == [1, 2]
    assert holds(manager, 2) and holds(save_tree(manager, 3, tree(3)), 3)


def test_one_manager_at_a_time_writes(manager_at):
    first = save_tree(manager_at(), 1, tree(1))
    second = manager_at()
    for write in (lambda: save_tree(second, 2, tree(2)), lambda: second.delete(1), lambda: set_aside(second, 1)):
        error = catch_error(DirectoryInUseError, write)
        assert (error.directory, error.process) == (str(first.directory), os.getpid())
    assert holds(second, 1) and recover(second, {"tree": None}).loaded.step == 1  # reading is everybody's
    first.close()
    assert save_tree(second, 2, tree(2)).all_steps() == [1, 2]
    catch_error(CheckpointError, save_tree, first, 3, tree(3))  # it is closed
    assert second.all_steps() == [1, 2]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_manager_that_nobody_has_any_more_lets_others_write(tmp_path, asynchronous):
    for step in range(3):
        manager, _ = setup_checkpoint_manager(tmp_path, asynchronous=asynchronous)
        save_tree(manager, step, tree(step))
        manager.wait_until_finished()
    manager.close()
    assert manager.all_steps() == [0, 1, 2]
    del manager
    gc.collect()  # what the managers before had open is closed in this test


def test_a_manager_that_only_reads_takes_no_lock(manager_at, tmp_path):
    save_tree(manager_at(), 1, tree(1)).close()
    (tmp_path / "checkpoints" / LOCK_FILE).unlink()
    for options in ({"read_only": True}, {}):
        manager = manager_at(**options)
        assert holds(manager, 1) and not manager.is_pinned(1)
    assert not (tmp_path / "checkpoints" / LOCK_FILE).exists()


def test_steps_are_listed_anew_before_each_save(manager_at, tmp_path):
    """Whoever made a step meanwhile (another library, a copy), it is not replaced."""
    manager = save_tree(manager_at(), 1, tree(1))
    shutil.copytree(manager.step_directory(1), manager.step_directory(5))
    assert manager.all_steps() == [1, 5]
    for step in (3, 5):
        with pytest.raises(StepExistsError):
            save_tree(manager, step, tree(step))
    shutil.rmtree(manager.step_directory(5))
    assert save_tree(manager, 3, tree(3)).all_steps() == [1, 3]


def test_a_directory_that_cannot_be_locked_is_written_all_the_same(manager_at, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    manager = manager_at()
    in_flight = Path(manager.directory) / "7.orbax-checkpoint-tmp"  # whose writer may be alive
    in_flight.mkdir()
    assert holds(save_tree(manager, 1, tree(1)), 1)
    assert [r.name for r in caplog.records if r.name.startswith("artifex_bench")] == [directory_lock.__name__]
    assert in_flight.is_dir()
