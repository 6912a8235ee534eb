"""Processes that save: two at once, killed ones, forked ones, and ones that end without closing their manager."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from artifex_bench.checkpointing import DirectoryInUseError, save_tree
from tests.checkpointing.conftest import catch_error
from tests.checkpointing.test_writers import holds, tree

ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}


def python(code: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


SAVER = """
import sys, time
import numpy as np
from artifex_bench.checkpointing import orbax_handlers, save_tree, setup_checkpoint_manager
write = orbax_handlers._write_digests
orbax_handlers._write_digests = lambda *a: (write(*a), time.sleep(float(sys.argv[2])))
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
        error = catch_error(DirectoryInUseError, save_tree, manager, 2, tree(2))
        assert (error.directory, error.process, error.host) == (str(tmp_path), other.pid, socket.gethostname())
        assert list(tmp_path.glob("2.orbax-checkpoint-tmp*")) == unfinished
        other.send_signal(signal.SIGKILL)
    manager_at(tmp_path, read_only=True)
    assert list(tmp_path.glob("2.orbax-checkpoint-tmp*")) == unfinished
    (tmp_path / "7.orbax-checkpoint-tmp").mkdir()
    # The kernel released the lock, and what nobody writes any more is deleted and logged.
    assert save_tree(manager, 3, tree(3)).all_steps() == [1, 3]
    assert holds(manager, 1) and holds(manager, 3)
    assert not list(tmp_path.glob("*orbax-checkpoint-tmp*"))
    logged = {r.args[0].name for r in caplog.records if r.name.startswith("artifex_bench")}
    assert logged == {"7.orbax-checkpoint-tmp", *(path.name for path in unfinished)}


FORKED = """
import atexit, gc, multiprocessing, os, sys, time, warnings
warnings.simplefilter("ignore")  # Python and JAX warn of forks
import jax
import numpy as np
from artifex_bench.checkpointing import *
from artifex_bench.checkpointing import orbax_handlers
write = orbax_handlers._write_digests
orbax_handlers._write_digests = lambda *a: (time.sleep(0.5), write(*a))

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
from artifex_bench.checkpointing import deletion
shutil.rmtree = lambda path: (Path(path, "tree", "_METADATA").unlink(), os.kill(os.getpid(), 9))
deletion.delete_step(Path(sys.argv[1]))
"""
    manager = save_tree(save_tree(manager_at(), 1, tree(1)), 2, tree(2))
    manager.close()
    with python(code, str(manager.step_directory(1))) as killed:
        assert killed.wait() == -signal.SIGKILL
    again = manager_at()
    assert again.all_steps() == [2]
    save_tree(again, 3, tree(3))
    assert not list(Path(manager.directory).glob("*orbax-checkpoint-tmp*"))
