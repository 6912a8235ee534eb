"""The scheduler: the order of jobs and records, and interruptions at any point."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError
from artifex_bench.core.case_names import case_id
from artifex_bench.core.environments import changed_versions
from artifex_bench.core.grid import with_baselines
from artifex_bench.core.record import Record, record_to_json
from artifex_bench.core.run_spec import CACHE, RunSpec
from artifex_bench.core.store import RECORDS, StoreError
from artifex_bench.report.frame import load_run
from artifex_bench.sweep.scheduler import remaining_jobs, run_sweep
from tests.build import backend, case, ignore, measured, record, replaced, sketch, taken

ABC = ("none", "all", "every-2")
REQUEST = RunSpec("remat", tuple(map(case, ABC)), rounds=2, steps=7, timeout=9.0, memory_limit=2**30)
JOBS = [f"{strategy} {number}" for number in (0, 1) for strategy in ABC]


def start(folder, request=REQUEST):
    store.create_run(folder, run_spec.run_spec_to_json(request))
    return folder


@pytest.fixture
def folder(tmp_path):
    return start(tmp_path / "run")


def named(found):
    return [f"{one.case.strategy} {one.round}" for one in found]


def test_rounds_are_interleaved(folder):
    log: list[str] = []
    found = run_sweep(REQUEST, folder, backend(log), ignore)
    assert log == [f"measure {job}" for job in JOBS]
    assert named(found) == JOBS
    assert store.load_records(folder) == found


ABSENT = tuple(case(strategy, target="tpu:v5e") for strategy in ("none", "all"))


def test_cases_that_are_only_compiled_have_one_round(folder):
    request = replaced(REQUEST, cases=(*REQUEST.cases[:2], *ABSENT))
    found = [(job.case.target, job.case.strategy, job.round) for job in request.make_jobs(folder)]
    assert sorted(found) == [
        *[("local", "all", 0), ("local", "all", 1), ("local", "none", 0), ("local", "none", 1)],
        *[("tpu:v5e", "all", 0), ("tpu:v5e", "none", 0)],
    ]


def test_cases_that_are_only_compiled_run_together_and_are_stored_in_order(folder):
    """Each of two jobs waits for the other to begin; the second is done first."""
    request = replaced(REQUEST, cases=ABSENT)
    meeting, finished = threading.Barrier(2, timeout=60), threading.Event()

    def measure(job, path):
        path.write_text("")
        meeting.wait()
        if job.case.strategy == "none":
            assert finished.wait(60)
        finished.set()
        return record(job.case, round=job.round)

    if os.cpu_count() == 1:
        pytest.skip("one core compiles one program at a time")
    assert [one.case.strategy for one in run_sweep(request, folder, measure, ignore)] == ["none", "all"]
    assert named(store.load_records(folder)) == ["none 0", "all 0"]


def test_an_interruption_ends_the_jobs_under_way(folder):
    stopped = threading.Event()

    def measure(job, path):
        if job.case.strategy == "none":
            raise KeyboardInterrupt
        assert stopped.wait(60)
        return record(job.case, "failed")

    with pytest.raises(KeyboardInterrupt):
        run_sweep(replaced(REQUEST, cases=ABSENT), folder, measure, ignore, stopped.set)
    assert store.load_records(folder) == []


def test_the_log_of_an_aot_compiler_is_kept(folder):
    def measure(job, path):
        path.write_text("" if job.case.strategy == "none" else "noise")
        return record(job.case, round=job.round)

    run_sweep(replaced(REQUEST, cases=(case("all"), *ABSENT)), folder, measure, ignore)
    assert [path.name for path in (folder / "logs").iterdir()] == [f"{case_id(ABSENT[1])}.round0.log"]


def test_each_record_is_on_disk_before_the_next_job_begins(folder):
    log: list[str] = []
    measure = backend(log)

    def stored():
        return (folder / RECORDS).read_bytes().count(b"\n") if (folder / RECORDS).exists() else 0

    def show(job, found):
        log.append(f"{'begin' if found is None else 'end'} {job.case.strategy}, on disk {stored()}")

    run_sweep(replaced(REQUEST, rounds=1), folder, measure, show)
    assert log == [
        step
        for number, strategy in enumerate(ABC)
        for step in (
            f"begin {strategy}, on disk {number}",
            f"measure {strategy} 0",
            f"end {strategy}, on disk {number + 1}",
        )
    ]


def test_a_job_has_the_settings_of_its_spec(folder):
    seen = []

    def measure(job, path):
        seen.append(job)
        return record(job.case, round=job.round)

    run_sweep(REQUEST, folder, measure, ignore)
    assert [job.round for job in seen] == [0, 0, 0, 1, 1, 1]
    assert {(job.steps, job.timeout, job.memory_limit) for job in seen} == {(7, 9.0, 2**30)}
    assert {job.cache for job in seen} == {str(folder / CACHE)}


def test_the_baseline_runs_before_its_strategies_and_judges_them(folder):
    def measure(job, path):
        loss = 1.5 if job.case.strategy != "every-2" else 9.0
        return record(job.case, round=job.round, measurements=(*measured(), sketch(loss)))

    request = replaced(REQUEST, cases=with_baselines([case("all"), case("every-2")]), rounds=1)
    plain, equal, wrong = run_sweep(request, folder, measure, ignore)
    assert (plain.case.strategy, plain.verdict, plain.agreement) == ("none", None, None)
    assert (equal.status, equal.agreement.ok, equal.verdict.name) == ("ok", True, "no-op")
    assert (wrong.status, wrong.agreement.ok) == ("failed", False)
    assert store.load_records(folder) == [plain, equal, wrong]


@pytest.mark.parametrize("status", ["oom", "timeout", "failed", "skipped"])
def test_a_failed_case_is_not_measured_again_and_the_others_are(folder, status):
    log: list[str] = []
    found = run_sweep(REQUEST, folder, backend(log, {"all": status}), ignore)
    assert named(found) == ["none 0", "all 0", "every-2 0", "none 1", "every-2 1"]
    assert [one.status for one in found] == ["ok", status, "ok", "ok", "ok"]


def test_a_failed_baseline_does_not_stop_the_others(folder):
    found = run_sweep(REQUEST, folder, backend([], {"none": "oom"}), ignore)
    assert named(found) == ["none 0", "all 0", "every-2 0", "all 1", "every-2 1"]
    assert [one.status for one in found] == ["oom", "ok", "ok", "ok", "ok"]


def test_logs_of_failed_jobs_are_kept(folder):
    run_sweep(REQUEST, folder, backend([], {"all": "oom", "every-2": "skipped"}), ignore)
    assert [path.name for path in (folder / "logs").iterdir()] == [f"{case_id(case('all'))}.round0.log"]


def test_the_compile_cache_is_deleted_at_the_end(folder):
    def measure(job, path):
        os.makedirs(job.cache, exist_ok=True)
        return record(job.case, round=job.round)

    run_sweep(REQUEST, folder, measure, ignore)
    assert not (folder / CACHE).exists()


class Stop(BaseException):  # an Exception is a fault of the executor
    """What interrupts a sweep here."""


def stopping(log, after, exception=Stop):
    """A backend that is interrupted in the job that follows `after` whole ones."""
    measure = backend(log)

    def interrupted(job, path):
        if len(log) == after:
            raise exception
        return measure(job, path)

    return interrupted


@given(st.lists(st.integers(0, 5), max_size=5), st.sampled_from((Stop, KeyboardInterrupt)))
@settings(max_examples=10)  # each writes to disk and waits for it
def test_each_job_gives_one_record_despite_interruptions(tmp_path_factory, stops, exception):
    folder = start(tmp_path_factory.mktemp("runs") / "run")
    log: list[str] = []
    for more in stops:
        try:
            run_sweep(REQUEST, folder, stopping(log, len(log) + more, exception), ignore)
        except exception:
            assert named(store.load_records(folder)) == JOBS[: len(log)]
    found = run_sweep(REQUEST, folder, backend(log), ignore)
    assert log == [f"measure {job}" for job in JOBS]
    assert named(found) == named(store.load_records(folder)) == JOBS


def test_a_resumed_run_judges_by_the_stored_baseline(folder):
    def measure(job, path):
        return record(job.case, round=job.round, measurements=(*measured(), sketch()))

    with pytest.raises(Stop):
        run_sweep(REQUEST, folder, lambda v, p: measure(v, p) if v.case.strategy == "none" else raise_(Stop), ignore)
    found = run_sweep(REQUEST, folder, measure, ignore)
    assert [one.agreement.ok for one in found if one.case.strategy != "none"] == [True] * 4


def raise_(exception):
    raise exception


def test_a_finished_run_has_nothing_left(folder):
    run_sweep(REQUEST, folder, backend([], {"all": "oom"}), ignore)
    log: list[str] = []
    again = run_sweep(REQUEST, folder, backend(log), ignore)
    assert log == []
    assert again == store.load_records(folder)


def test_remaining_jobs_are_those_that_will_run(folder):
    assert [f"{v.case.strategy} {v.round}" for v in remaining_jobs(REQUEST, folder, [])] == JOBS
    some = [record("none"), record("all", "oom"), record("every-2")]
    assert [f"{v.case.strategy} {v.round}" for v in remaining_jobs(REQUEST, folder, some)] == ["none 1", "every-2 1"]


def test_the_case_of_a_torn_line_is_measured_again(folder):
    run_sweep(REQUEST, folder, backend([]), ignore)
    os.truncate(folder / RECORDS, (folder / RECORDS).stat().st_size - 5)
    log: list[str] = []
    found = run_sweep(REQUEST, folder, backend(log), ignore)
    assert log == ["measure every-2 1"]
    assert named(store.load_records(folder)) == named(found) == JOBS


def test_two_sweeps_of_one_folder_are_refused(folder):
    def second(job, path):
        with pytest.raises(StoreError, match=re.escape(str(folder))):
            run_sweep(REQUEST, folder, backend([]), ignore)
        return record(job.case, round=job.round)

    assert named(run_sweep(REQUEST, folder, second, ignore)) == JOBS


SWEEP = """
import pathlib, sys, time
from artifex_bench.core import run_spec, store
from artifex_bench.sweep import scheduler
from tests.build import ignore, record
folder = pathlib.Path(sys.argv[1])
def measure(job, path):
    path.write_text("log")
    time.sleep(0.002)
    print(job.case.strategy, job.round, flush=True)
    return record(job.case, round=job.round)
scheduler.run_sweep(run_spec.run_spec_from_json(store.read_manifest(folder)), folder, measure, ignore)
print("done", flush=True)
"""


def test_kill_9_at_any_point_loses_and_doubles_nothing(tmp_path):
    """The runner is killed at points spread over the sweep, again and again, until one call gets through."""
    strategies = ("none", *(f"every-{n}" for n in range(1, 10)))
    request = replaced(REQUEST, cases=tuple(map(case, strategies)), rounds=4)
    folder = start(tmp_path / "run", request)
    kept: list[str] = []
    for attempt in itertools.count():
        process = subprocess.Popen([sys.executable, "-c", SWEEP, str(folder)], stdout=subprocess.PIPE, text=True)
        with process:
            for line in itertools.islice(process.stdout, 7 + 3 * (attempt % 3)):
                if line == "done\n":
                    break
            time.sleep(attempt % 4 * 0.001)  # before, within and after the writing of a record
            if line != "done\n":
                process.send_signal(signal.SIGKILL)
        found = named(store.load_records(folder))
        assert found[: len(kept)] == kept
        kept = found
        if line == "done\n":
            break
    assert attempt >= 3
    assert kept == [f"{strategy} {number}" for number in range(4) for strategy in strategies]


def under(jax, flags=""):
    """Return a `measure` that measures nothing, in an environment of its own."""

    def measure(job, path):
        path.write_text("")
        environment = {"versions": {"jax": jax}, "flags": {"XLA_FLAGS": flags}}
        return record(job.case, round=job.round, environment=environment)

    return measure


def cut_short(measure, after):
    """Return `measure`, interrupted after `after` jobs."""
    left = iter(range(after))

    def some(job, path):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return measure(job, path)

    return some


@pytest.mark.parametrize("other", [("0.12", ""), ("0.11", "--xla_new")], ids=["version", "flags"])
def test_rounds_of_two_environments_are_mixed_only_with_across(folder, other):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(REQUEST, folder, cut_short(under("0.11"), 4), ignore)
    before = store.load_records(folder)
    with pytest.raises(CaseError, match=f"--resume {re.escape(str(folder))} --across") as refused:
        run_sweep(REQUEST, folder, under(*other), ignore)
    assert store.load_records(folder) == before and len(str(refused.value).splitlines()) == 1
    assert len(run_sweep(REQUEST, folder, under(*other), ignore, across=True)) == 6
    jax = set(load_run(folder).jax)
    assert jax == ({"0.11", "0.11, 0.12"} if other[0] == "0.12" else {"0.11"})


def test_versions_of_all_records_are_compared_with_those_installed():
    versions = [importlib.metadata.version("jax"), "0.0.1"]
    found = [record(environment={"versions": {"jax": version, "numpy": None}}) for version in versions]
    for order in (found, found[::-1]):  # a run that was resumed across versions has both
        assert changed_versions(order) == {"jax": (", ".join(sorted(versions)), versions[0])}
    assert changed_versions(found[:1]) == {}


def test_failed_records_do_not_show_a_changed_environment(folder):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(REQUEST, folder, cut_short(under("0.11"), 2), ignore)

    def time_out(job, path):
        return replaced(under("0.11", "--half")(job, path), status="timeout", reason="so", measurements=())

    assert {one.status for one in run_sweep(REQUEST, folder, time_out, ignore)} == {"ok", "timeout"}


def test_cases_for_other_devices_have_their_own_environments(folder):
    request = replaced(REQUEST, cases=(case("none"), case("none", mesh="data=2"), ABSENT[0]))

    def measure(job, path):
        path.write_text("")
        devices = {"devices": job.case.devices, "platform": job.case.target}
        return record(job.case, round=job.round, environment=devices)

    assert len(run_sweep(request, folder, measure, ignore)) == 5


@pytest.mark.parametrize("how", ["removed", "emptied", "replaced"])
def test_records_that_are_lost_during_a_run_are_an_error(folder, how):
    taken = backend([])

    def measure(job, path):
        found = taken(job, path)
        if job.key == REQUEST.make_jobs(folder)[3].key:
            (folder / RECORDS).unlink()
            if how != "removed":
                (folder / RECORDS).write_bytes(b"")
            if how == "replaced":
                store.append_record(folder, found)
        return found

    with pytest.raises(StoreError, match=r"records\.jsonl"):
        run_sweep(REQUEST, folder, measure, ignore)


def test_a_run_can_be_resumed_after_a_damaged_line_is_deleted(folder):
    whole = run_sweep(REQUEST, folder, backend([]), ignore)
    path = folder / RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]]))
    with pytest.raises(StoreError, match=rf"{path} line 3: .*--resume") as refused:
        run_sweep(REQUEST, folder, backend([]), ignore)
    assert len(str(refused.value).splitlines()) == 1
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    log = []
    found = run_sweep(REQUEST, folder, backend(log), ignore)
    assert len(log) == 1 and {record.key: record for record in found} == {record.key: record for record in whole}


BROKEN = {
    "returns nothing": lambda job: None,
    "returns JSON": lambda job: record_to_json(record(job.case, round=job.round)),
    "raises": lambda job: raise_(ValueError("two\nlines")),
    "another case": lambda job: record("every-2", round=job.round),
    "another round": lambda job: record(job.case, round=job.round + 1),
    "no case": lambda job: Record(None, job.round, "ok"),
    "no measurements": lambda job: record(job.case, round=job.round, measurements=None),
    "impossible detail": lambda job: record(
        job.case, round=job.round, measurements=(taken("compiled_peak_bytes", 1.0, argument_bytes="many"),)
    ),
    "not a number": lambda job: record(job.case, round=job.round, environment={"load": float("nan")}),
}


@pytest.mark.parametrize("target", ["local", "tpu:v5e"])
@pytest.mark.parametrize("how", BROKEN)
def test_an_executor_that_breaks_its_contract_ends_the_run_in_one_line(folder, how, target):
    request = replaced(REQUEST, cases=(case("none", target=target), case("all", target=target)))
    good = backend([])
    with pytest.raises(StoreError) as refused:
        run_sweep(
            request,
            folder,
            lambda job, log: good(job, log) if job.case.strategy == "none" else BROKEN[how](job),
            ignore,
        )
    assert len(str(refused.value).splitlines()) == 1
    assert named(store.load_records(folder)) == ["none 0"]
    assert len(run_sweep(request, folder, good, ignore)) == len(request.make_jobs(folder))  # it goes on once mended


def test_the_log_has_the_traceback_of_an_executor_that_raises(folder):
    with pytest.raises(StoreError, match=re.escape(str(folder / "logs"))):
        run_sweep(REQUEST, folder, lambda *_: raise_(OSError("no node")), ignore)
    (log,) = (folder / "logs").iterdir()
    assert "Traceback" in log.read_text() and "no node" in log.read_text()
