"""Who writes when: threads take turns, one manager at a time writes to a directory, a forked process does not."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
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
    handlers,
    load_tree,
    recover,
    save_tree,
    set_aside,
    setup_checkpoint_manager,
)
from artifex_bench.checkpointing.directory_lock import LOCK
from tests.checkpointing.conftest import refused

ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}


def tree(step: int) -> dict[str, np.ndarray]:
    return {f"w{i}": np.full(1000, float(step + i)) for i in range(4)}


def holds(manager, step: int) -> bool:
    loaded, _ = load_tree(manager, step=step)
    return {name: set(w) for name, w in loaded.items()} == {f"w{i}": {float(step + i)} for i in range(4)}


def python(code: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


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
    refusals: list[str] = []

    def handle(*_) -> None:
        refusals.append(refused(CheckpointError, changes[change]))

    def write_and_signal(*arguments) -> None:
        monkeypatch.setattr(handlers, "_write", write)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not refusals:
            time.sleep(0.01)
        write(*arguments)

    write = handlers._write
    monkeypatch.setattr(handlers, "_write", write_and_signal)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        save_tree(manager, 2, tree(2))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "signal" in refusals[0] and manager.all_steps() == [1, 2]
    assert holds(manager, 2) and holds(save_tree(manager, 3, tree(3)), 3)


def test_one_manager_at_a_time_writes(manager_at):
    first = save_tree(manager_at(), 1, tree(1))
    second = manager_at()
    for write in (lambda: save_tree(second, 2, tree(2)), lambda: second.delete(1), lambda: set_aside(second, 1)):
        with pytest.raises(DirectoryInUseError, match="another manager of this process"):
            write()
    assert holds(second, 1) and recover(second, {"tree": None}).loaded.step == 1  # reading is everybody's
    first.close()
    assert save_tree(second, 2, tree(2)).all_steps() == [1, 2]
    with pytest.raises(CheckpointError, match="closed"):
        save_tree(first, 3, tree(3))


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
    (tmp_path / "checkpoints" / LOCK).unlink()
    for options in ({"read_only": True}, {}):
        manager = manager_at(**options)
        assert holds(manager, 1) and not manager.is_pinned(1)
    assert not (tmp_path / "checkpoints" / LOCK).exists()


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


SAVER = """
import sys, time
import numpy as np
from artifex_bench.checkpointing import handlers, save_tree, setup_checkpoint_manager
write = handlers._write
handlers._write = lambda *a: (write(*a), time.sleep(float(sys.argv[2])))
manager, _ = setup_checkpoint_manager(sys.argv[1], asynchronous=True)
for step in (1, 2):
    save_tree(manager, step, {f"w{i}": np.full(1000, float(step + i)) for i in range(4)})
    print("saving", flush=True)
    manager.wait_until_finished()
    sys.argv[2] = sys.argv[3]
print("saved", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_write_to_one_directory(tmp_path, manager_at, caplog):
    with python(SAVER, str(tmp_path), "0", "60") as other:
        assert [other.stdout.readline() for _ in range(2)] == ["saving\n"] * 2
        unfinished = list(tmp_path.glob("2.orbax-checkpoint-tmp*"))
        assert unfinished
        manager = manager_at(tmp_path)
        with pytest.raises(DirectoryInUseError, match=f"process {other.pid} on "):
            save_tree(manager, 2, tree(2))
        assert list(tmp_path.glob("2.orbax-checkpoint-tmp*")) == unfinished
        other.send_signal(signal.SIGKILL)
    manager_at(tmp_path, read_only=True)
    assert list(tmp_path.glob("2.orbax-checkpoint-tmp*")) == unfinished
    (tmp_path / "7.orbax-checkpoint-tmp").mkdir()
    # The kernel let go of the lock, and what nobody writes any more is removed, which is told.
    assert save_tree(manager, 3, tree(3)).all_steps() == [1, 3]
    assert holds(manager, 1) and holds(manager, 3)
    assert not list(tmp_path.glob("*orbax-checkpoint-tmp*"))
    told = {r.args[0].name for r in caplog.records if r.name.startswith("artifex_bench")}
    assert told == {"7.orbax-checkpoint-tmp", *(path.name for path in unfinished)}


FORKED = """
import atexit, gc, multiprocessing, os, sys, time, warnings
warnings.simplefilter("ignore")  # Python and JAX warn of forks
import jax
import numpy as np
from artifex_bench.checkpointing import *
from artifex_bench.checkpointing import handlers
write = handlers._write
handlers._write = lambda *a: (time.sleep(0.5), write(*a))

def refused(call):
    try:
        call()
    except CheckpointError as error:
        return
    os._exit(9)

def with_block(manager):
    with manager:
        pass

def collected(manager):
    global kept
    kept = None
    gc.collect()

CHILDREN = {
    "exit": lambda manager: None,
    "close": lambda manager: manager.close(),
    "with": with_block,
    "collected": collected,
    "save": lambda manager: refused(lambda: save_tree(manager, 9, {"w": np.ones(3)})),
    "wait": lambda manager: refused(manager.wait_until_finished),
    "load": lambda manager: refused(lambda: load_tree(manager)),
    "list": lambda manager: manager.latest_step(),
}

# In a child, after our hook at exit and before those of JAX, which may wait for threads that a fork leaves behind.
jax.devices()
parent = os.getpid()
atexit.register(lambda: os.getpid() == parent or os._exit(0))
kept, _ = setup_checkpoint_manager(sys.argv[1], asynchronous=True, retention=KEEP_ALL)
step = 0
for name, child in CHILDREN.items():
    step += 1
    save_tree(kept, step, {"w": np.full(3, step)})
    pid = os.fork()
    if pid == 0:
        manager = kept
        child(manager)
        del manager
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, name
    kept.wait_until_finished()
    assert load_tree(kept)[0]["w"].tolist() == [step] * 3, name
step += 1
save_tree(kept, step, {"w": np.full(3, step)})
process = multiprocessing.get_context("fork").Process(target=kept.close)
process.start(); process.join()
assert process.exitcode == 0
assert load_tree(kept)[1] == step

# A child that outlives the manager does not keep its lock.
pid = os.fork()
if pid == 0:
    time.sleep(60)
    os._exit(0)
kept.close()
with setup_checkpoint_manager(sys.argv[1])[0] as manager:
    save_tree(manager, 99, {"w": np.ones(3)})
os.kill(pid, 9)
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_leaves_what_its_parent_saves_alone(tmp_path):
    with python(FORKED, str(tmp_path)) as parent:
        try:
            assert parent.communicate(timeout=200)[0].splitlines()[-1:] == ["fine"]
        finally:
            parent.kill()
    assert parent.returncode == 0


def test_a_program_that_ends_without_closing_has_saved_what_it_saved(tmp_path, manager_at):
    code = """
import sys
import numpy as np
from artifex_bench.checkpointing import save_tree, setup_checkpoint_manager
manager, _ = setup_checkpoint_manager(sys.argv[1], asynchronous=True)
save_tree(manager, 1, {f"w{i}": np.full(2**18, float(1 + i)) for i in range(4)})
"""
    with python(code, str(tmp_path)) as program:
        assert program.wait(100) == 0
    assert holds(manager_at(tmp_path), 1)


def test_a_deletion_that_is_killed_leaves_no_step_in_parts(tmp_path, manager_at):
    code = """
import shutil, os, sys
from pathlib import Path
from artifex_bench.checkpointing import disposal
shutil.rmtree = lambda path: (Path(path, "tree", "_METADATA").unlink(), os.kill(os.getpid(), 9))
disposal.remove_step(Path(sys.argv[1]))
"""
    manager = save_tree(save_tree(manager_at(), 1, tree(1)), 2, tree(2))
    manager.close()
    with python(code, str(manager.step_directory(1))) as killed:
        assert killed.wait() == -signal.SIGKILL
    again = manager_at()
    assert again.all_steps() == [2]
    save_tree(again, 3, tree(3))
    assert not list(Path(manager.directory).glob("*orbax-checkpoint-tmp*"))


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
