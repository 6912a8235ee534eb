"""Workers forked by a real fork server, without JAX, whose import takes seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement
from artifex_bench.execution import local
from artifex_bench.execution.fork_server import EXIT_SECONDS, ForkServer
from tests.build import case
from tests.execution.test_local import gone

# Python imports it at its start. It replaces slow modules, and the worker, which runs the code in its job's model.
STAND_IN = """
import json, os, signal, sys, time, types
for name in ("jax", "flax", "flax.nnx", "optax", "artifex_bench.remat.measure.stages"):
    sys.modules[name] = types.ModuleType(name)
worker = sys.modules["artifex_bench.execution.worker"] = types.ModuleType("worker")
def send(**message):
    os.write(1, (json.dumps(message) + "\\n").encode())
def main():
    send(environment={"pid": os.getpid(), "group": os.getpgrp(), "fork_server": os.getppid()})
    exec(json.load(sys.stdin)["case"]["model"])
worker.main = main
"""


@pytest.fixture
def fork_server(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    paths = (str(tmp_path), str(Path(__file__).parents[2]))
    made = ForkServer({**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    yield made
    made.close()


@pytest.fixture
def measure(fork_server, tmp_path):
    def run(code, timeout=30.0):
        return local.run_job(Job(case(model=code), timeout=timeout), tmp_path / "log", fork_server.start_worker)

    return run


DONE = "send(status='ok', reason='')"


def test_workers_are_forked_one_after_another_by_one_fork_server(measure):
    first, second = measure(DONE).environment, measure(DONE).environment
    assert first["fork_server"] == second["fork_server"]
    assert first["pid"] != second["pid"]
    assert (first["group"], second["group"]) == (first["pid"], second["pid"])


def test_messages_and_output_of_a_worker_are_kept(measure, tmp_path):
    number = {"probe": "a", "unit": "bytes", "values": [3.0]}
    found = measure(f"send(measurement={json.loads(json.dumps(number))}); print('hello', file=sys.stderr); {DONE}")
    assert (found.status, found.measurements) == ("ok", (Measurement("a", "bytes", (3.0,)),))
    assert (tmp_path / "log").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_a_worker_that_dies_leaves_the_fork_server_to_start_the_next(measure, code, reason):
    found = measure(code)
    assert found.status == "failed" and reason in found.reason
    assert measure(DONE).environment["fork_server"] == found.environment["fork_server"]


def test_a_worker_that_hangs_is_killed(measure):
    assert measure("time.sleep(600)", timeout=0.5).status == "timeout"
    assert measure(DONE).status == "ok"


def test_a_worker_can_be_killed_as_soon_as_its_id_is_known(fork_server):
    """Its process group exists before its id is sent. A kill without a group would wait for the worker to end."""
    asked, silent = os.pipe()  # a job that never comes: the worker waits for it
    with open(asked, "rb") as never_sent, open(silent, "wb"), open(os.devnull, "r+b") as null:
        for _ in range(50):
            worker = fork_server.start_worker(never_sent.fileno(), null.fileno(), null.fileno())
            os.killpg(worker.pid, signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL


def test_a_worker_that_was_not_waited_for_is_not_taken_for_the_next(fork_server):
    """If a job is interrupted twice, its exit code stays unread. The next job must not take it for a process id."""
    with open(os.devnull, "r+b") as null:
        streams = [null.fileno()] * 3
        fork_server.start_worker(*streams)
        worker = fork_server.start_worker(*streams)
    assert worker.pid > 1 and worker.wait() == 1  # there is no job to read


def test_a_fork_server_that_was_killed_is_started_again(measure):
    fork_server = measure(DONE).environment["fork_server"]
    os.kill(fork_server, signal.SIGKILL)
    found = measure(DONE)
    while found.status == "failed":  # the killed process may not have ended yet
        found = measure(DONE)
    assert found.environment["fork_server"] != fork_server


def test_a_killed_fork_server_is_a_failed_case_and_its_worker_ends(measure):
    found = measure("os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)")
    assert found.status == "failed" and "SIGKILL" in found.reason
    assert measure(DONE).status == "ok"


# A grandchild in a session of its own, whose parent has exited: nothing connects it with the worker.
DAEMON = """
if not os.fork():
    os.setsid()
    if os.fork(): os._exit(0)
    send(environment={"pid": os.getpid()})
    os.close(1)
    time.sleep(600)
os.wait()
time.sleep(0.2)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can adopt orphans")


@linux
@pytest.mark.parametrize(
    ("end", "status"),
    [
        (DONE, "ok"),
        ("os._exit(1)", "failed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed"),
        ("time.sleep(600)", "timeout"),
    ],
)
def test_a_child_in_a_session_of_its_own_dies_with_its_worker(measure, end, status):
    found = measure(DAEMON + end, timeout=3.0)
    assert found.status == status
    assert gone(found.environment["pid"])
    assert measure(DONE).status == "ok"


@linux
@pytest.mark.parametrize("child", ["", "os.execvp('sleep', ['sleep', '600'])"], ids=["forked", "executed"])
def test_descendants_of_a_worker_die_with_a_killed_fork_server(measure, child):
    daemon = DAEMON.replace("    time.sleep(600)", f"    {child or 'time.sleep(600)'}")
    found = measure(f"{daemon}os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)")
    assert found.status == "failed" and "SIGKILL" in found.reason
    assert gone(found.environment["pid"])
    assert measure(DONE).status == "ok"


@linux
def test_descendants_of_a_worker_die_with_a_stopped_fork_server(fork_server, measure):
    stop = threading.Timer(1.5, fork_server.kill)
    stop.start()
    found = measure(DAEMON + "time.sleep(600)")
    stop.join()
    assert found.status == "failed" and gone(found.environment["pid"])


RUN = """
import os, sys
from artifex_bench.execution import local
from artifex_bench.execution.fork_server import ForkServer
from artifex_bench.core.job import Job
from tests.build import case
from pathlib import Path
local.run_job(Job(case(model=sys.argv[1])), Path(sys.argv[2]), ForkServer(os.environ).start_worker)
"""


@linux
def test_kill_9_of_the_run_leaves_no_process_of_a_model(fork_server, tmp_path):
    pid_file = tmp_path / "pid"
    code = DAEMON.replace("os.close(1)", f"open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}} ')")
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, code + "time.sleep(600)", str(tmp_path / "log")], env=fork_server._environment
    )
    try:
        for _ in range(1000):
            if pid_file.exists() and pid_file.read_text().endswith(" "):
                break
            time.sleep(0.02)
    finally:
        running.kill()
        running.wait()
    assert gone(int(pid_file.read_text()))


PRELOADED = """
import json, sys
from artifex_bench.core.case import RematCase
from artifex_bench.core.job import Job, job_from_json, job_to_json
from artifex_bench.core.registry import load_attribute, load_kind
from artifex_bench.execution import fork_server_main
fork_server_main.preload_modules()
before = set(sys.modules)
job = job_from_json(json.loads(json.dumps(job_to_json(Job(RematCase())))))
load_attribute(load_kind(job.case.kind).measure)
print([name for name in set(sys.modules) - before if name.startswith("artifex_bench")])
"""


def test_a_worker_finds_its_kind_and_its_measurement_imported():
    done = subprocess.run([sys.executable, "-c", PRELOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


STUCK = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n"
EXIT = """
from artifex_bench.execution.fork_server import ForkServer
import atexit, os, sys
server = ForkServer(os.environ)
server._start()
atexit.register(print, "exits", flush=True)  # before the fork server is closed
print(server._process.pid, flush=True)
sys.stdin.read()
"""


def test_ctrl_c_at_the_exit_kills_a_fork_server_at_once_and_prints_nothing(tmp_path):
    (tmp_path / "jax.py").write_text(f"open({str(tmp_path / 'stuck')!r}, 'w').close()\n{STUCK}")  # never imported
    paths = (str(tmp_path), str(Path(__file__).parents[2]))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", EXIT], env=env, text=True, **pipes) as process:
        pid = int(process.stdout.readline())
        while not (tmp_path / "stuck").exists():
            time.sleep(0.01)
        process.stdin.close()
        assert process.stdout.readline() == "exits\n"
        time.sleep(0.5)  # it waits for the fork server
        process.send_signal(signal.SIGINT)
        assert process.wait(EXIT_SECONDS / 2) == 0
        assert process.stderr.read() == ""
    assert gone(pid)
