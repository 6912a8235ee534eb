"""The local executor: every job gives a record, and no process is left running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifex_bench.core.job import Job, job_from_json
from artifex_bench.core.record import Measurement
from artifex_bench.execution import local
from tests.build import case

PROLOGUE = """
import json, os, signal, subprocess, sys, time
def send(**message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
def number(probe="compile_seconds"):
    send(measurement={"probe": probe, "unit": "seconds", "values": [1.5]})
def done(status="ok", reason=""):
    send(status=status, reason=reason)
job = json.load(sys.stdin)
"""
STREAMS = ("stdin", "stdout", "stderr")
NUMBER = Measurement("compile_seconds", "seconds", (1.5,))


@pytest.fixture
def measure(tmp_path):
    def run(code, timeout=30.0, prologue=PROLOGUE, job=None):
        def start(*streams):
            worker = (sys.executable, "-S", "-c", prologue + code)
            return subprocess.Popen(worker, **dict(zip(STREAMS, streams, strict=True)), start_new_session=True)

        return local.run_job(job or Job(case("all"), 3, timeout=timeout), tmp_path / "log", start)

    return run


def gone(pid):
    """Whether a process ends within some seconds. A killed orphan is reaped by init."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


BUDGET = Job(case("budget-0.5"), cache="folder")


def test_the_parts_of_a_job_give_one_record(measure):
    record = measure("number(f\"{job['part']} {os.getpid()}\"); done()", job=BUDGET)
    (search, one), (rest, other) = (m.probe.split() for m in record.measurements)
    assert (record.status, search, rest) == ("ok", "search", "rest") and one != other


def test_the_log_has_the_output_of_all_parts(measure, tmp_path):
    code = "print(f\"{job['part']}: out of memory\" if job['part'] == 'search' else 'rest', file=sys.stderr); "
    record = measure(code + "done() if job['part'] == 'search' else os._exit(3)", job=BUDGET)
    assert (tmp_path / "log").read_text().splitlines() == ["search: out of memory", "rest"]
    assert record.status == "failed" and "exit code 3" in record.reason and record.reason.endswith("rest")


@pytest.mark.parametrize("status", ["failed", "skipped", "oom"])
def test_after_a_failed_part_the_next_is_not_started(status, measure):
    record = measure(f"number(job['part']); done({status!r}, 'for a reason')", job=BUDGET)
    assert (record.status, record.reason) == (status, "for a reason")
    assert [m.probe for m in record.measurements] == ["search"]


def test_a_part_that_dies_is_a_failed_job(measure):
    record = measure("number(); os.kill(os.getpid(), signal.SIGKILL)", job=BUDGET)
    assert record.status == "failed" and len(record.measurements) == 1


def test_messages_of_a_worker_become_the_record(measure, tmp_path):
    found = measure("send(environment={'job': job}); number(); print('hello', file=sys.stderr); done()")
    assert (found.case, found.round, found.status, found.reason) == (case("all"), 3, "ok", "")
    assert found.measurements == (NUMBER,)
    assert job_from_json(found.environment["job"]) == Job(case("all"), 3, timeout=30.0)
    assert found.wall_seconds > 0
    assert found.started_at.endswith("+00:00")
    assert (tmp_path / "log").read_text() == "hello\n"


@pytest.mark.parametrize("status", ["oom", "failed", "skipped"])
def test_the_status_and_reason_of_a_worker_are_kept(measure, status):
    found = measure(f"number(); done({status!r}, 'because')")
    assert (found.status, found.reason, found.measurements) == (status, "because", (NUMBER,))


def test_kill_9_of_the_worker_keeps_what_was_measured(measure):
    found = measure("number(); os.kill(os.getpid(), signal.SIGKILL)")
    assert found.status == "failed" and "SIGKILL" in found.reason
    assert found.measurements == (NUMBER,)


def test_a_kill_by_the_kernel_for_memory_is_oom(measure, monkeypatch):
    counts = iter((4, 5))
    monkeypatch.setattr(local, "_count_kernel_oom_kills", lambda: next(counts))
    found = measure("number(); os.kill(os.getpid(), signal.SIGKILL)")
    assert (found.status, found.measurements) == ("oom", (NUMBER,))


def test_another_death_while_the_kernel_kills_others_is_not_oom(measure, monkeypatch):
    counts = iter((4, 5))
    monkeypatch.setattr(local, "_count_kernel_oom_kills", lambda: next(counts))
    assert measure("sys.exit(3)").status == "failed"


def test_a_worker_that_hangs_is_killed_at_the_timeout(measure, tmp_path):
    found = measure("send(environment={'pid': os.getpid()}); number(); time.sleep(600)", timeout=1.0)
    assert found.status == "timeout" and "1 s" in found.reason
    assert found.measurements == (NUMBER,)
    assert gone(found.environment["pid"])


def test_a_worker_that_closes_its_pipe_and_hangs_is_killed_at_once(measure):
    """It closes its end of the pipe and keeps running."""
    found = measure("send(environment={'pid': os.getpid()}); number(); os.close(1); time.sleep(600)")
    assert (found.status, found.measurements) == ("failed", (NUMBER,))
    assert gone(found.environment["pid"])


def test_a_worker_that_never_reads_is_killed(measure):
    assert measure("import time; time.sleep(600)", timeout=0.5, prologue="").status == "timeout"


@pytest.mark.parametrize(
    "output",
    [
        b"garbage",
        b"",
        b"5",
        b"null",
        b"[]",
        b'["measurement"]',
        b'"status"',
        b"\xff\xfe\x00",
        b'{"measurement": 3}',
        b'{"measurement": {"probe": "a"}}',
        b'{"measurement": {"probe": "a", "unit": "b"}}',
        b'{"environment": 7}',
        b'{"status": "fine", "reason": ""}',
        b'{"status": "ok"}',
        b'{"status": ["ok"], "reason": ""}',
        b"x" * 200_000,
    ],
)
def test_garbage_is_ignored(measure, output):
    found = measure(
        f"sys.stdout.buffer.write({output[:50]!r} * {max(1, len(output) // 50)} + b'\\n'); number(); done()"
    )
    assert (found.status, found.measurements, found.environment) == ("ok", (NUMBER,), {})


def test_nothing_but_garbage_is_a_failed_case(measure):
    found = measure('print(\'{"status": "fine", "reason": ""}\'); print(\'garbage\', end=\'\')')
    assert found.status == "failed" and "exit code 0" in found.reason


def test_a_torn_last_line_is_left_out(measure):
    found = measure('number(); sys.stdout.write(\'{"measurement": {"pro\'); sys.stdout.flush(); os._exit(7)')
    assert found.status == "failed" and "exit code 7" in found.reason
    assert found.measurements == (NUMBER,)


def test_messages_in_pieces_are_joined(measure):
    found = measure(
        "for c in json.dumps({'status': 'ok', 'reason': 'ü'}) + '\\n': sys.stdout.write(c); sys.stdout.flush()"
    )
    assert (found.status, found.reason) == ("ok", "ü")


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", "oom"),
        ("F0000 00:00:01.5 77 pjrt.cc:9] Check failed: status is OK (RESOURCE_EXHAUSTED: Out of memory)", "oom"),
        ("  what():  std::bad_alloc", "oom"),
        ("LLVM ERROR: out of memory", "oom"),
        ("MemoryError", "oom"),
        ("ImportError: libx.so: cannot allocate memory in static TLS block", "failed"),
        ("ValueError: the pool is out of memory slots (MemoryError, std::bad_alloc)", "failed"),
        ("ValueError: RESOURCE_EXHAUSTED: no space left on the disk", "failed"),
        ("ValueError: shapes do not match", "failed"),
    ],
)
def test_the_last_lines_of_the_log_distinguish_oom_from_other_failures(measure, last, status):
    found = measure(f"number(); print('a warning\\n' + {last!r}, file=sys.stderr, flush=True); os._exit(1)")
    assert (found.status, found.measurements) == (status, (NUMBER,))
    assert last.strip() in found.reason
    assert "exit code 1" in found.reason


def test_a_memory_error_outside_of_the_protocol_is_oom(measure):
    found = measure("bytearray(2**62)")  # from Python 3.13 on the traceback quotes this line
    assert found.status == "oom" and found.reason.endswith("MemoryError")


def test_output_that_is_not_text_is_quoted_in_the_reason(measure):
    found = measure("sys.stderr.buffer.write(b'\\xff' * 5000); sys.stderr.flush(); os._exit(1)")
    assert found.status == "failed"
    assert len(found.reason) < 600
    json.dumps(found.reason).encode()


CHILD = "child = subprocess.Popen(['sleep', '600'], stdout=2); send(environment={'pid': child.pid}); number(); "


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("done()", "ok"),
        ("os._exit(1)", "failed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed"),
        ("time.sleep(600)", "timeout"),
    ],
)
def test_a_child_dies_with_its_worker_without_delay(measure, end, status):
    found = measure(CHILD + end, timeout=3.0)
    assert (found.status, found.measurements) == (status, (NUMBER,))
    assert gone(found.environment["pid"])


def test_an_interrupt_kills_the_worker_and_is_raised_again(measure, tmp_path):
    code = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
    code += "os.kill(os.getppid(), signal.SIGINT); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        measure(code)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_child_that_holds_the_pipe_open_does_not_hide_that_the_worker_is_done(measure):
    found = measure("child = subprocess.Popen(['sleep', '600']); send(environment={'pid': child.pid}); done()")
    assert found.status == "ok"
    assert gone(found.environment["pid"])


def test_a_worker_that_cannot_be_started_is_a_failed_case(tmp_path):
    def start(*streams):
        raise ChildProcessError("the fork server is gone")

    found = local.run_job(Job(case("all")), tmp_path / "log", start)
    assert (found.status, found.reason) == ("failed", "the fork server is gone")


def test_no_pipes_are_left_open(measure):
    def count():
        return len(os.listdir("/proc/self/fd"))

    measure("done()")
    before = count()
    measure("done()")
    measure("time.sleep(600)", timeout=0.2)
    measure("os._exit(1)")
    assert count() == before


def test_workers_take_gpu_memory_as_needed_unless_the_user_says_otherwise(monkeypatch):
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.delenv(name, raising=False)
    assert local.worker_environment()[name] == "false"
    monkeypatch.setenv(name, "true")
    assert local.worker_environment()[name] == "true"
