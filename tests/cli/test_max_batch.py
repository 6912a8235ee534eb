"""`artifex-bench max-batch`: searches with a fake executor, wrong use, and real compilations."""

from __future__ import annotations

import json
import os
import threading

import pytest

from artifex_bench import targets
from artifex_bench.core import run_spec, store
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import EXECUTORS, Executor
from artifex_bench.report.plots import style
from artifex_bench.sweep import spec
from artifex_bench.sweep.batch_search import Search
from artifex_bench.sweep.scheduler import run_search
from tests.build import case, record, replaced, taken
from tests.cli.test_cli import call, refused
from tests.targets.test_aot import installed
from tests.test_end_to_end import bench

GIB = 2**30
EACH = {"none": GIB, "all": GIB // 4, "every-2": 17 * GIB}  # bytes per sample
STARTS = tuple(case(strategy, batch=1, target="tpu:v5e") for strategy in EACH)
REQUEST = RunSpec("max-batch", STARTS, rounds=1, steps=0, search=Search())
EDGES = {"none": [16, 17], "all": [64, 65], "every-2": [1]}  # for 16 GiB: the largest batches that each search compiles


def compiled(job, log):
    """The record of a case that was compiled for a target of 16 GiB."""
    log.write_text("")
    found = (
        taken("compiled_peak_bytes", EACH[job.case.strategy] * job.case.batch),
        taken("capacity_bytes", 16 * GIB),
    )
    return record(job.case, measurements=(*found, taken("estimated_step_seconds", 0.01 * job.case.batch)))


@pytest.fixture
def folder(tmp_path):
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(REQUEST))
    return tmp_path / "run"


@pytest.fixture
def fake(monkeypatch):
    """An executor that compiles nothing. Returns the jobs that it received."""
    monkeypatch.setitem(style._STYLE, "figure.dpi", 30)
    monkeypatch.setattr(targets, "check_installed", lambda target: None)
    jobs = []

    def measure(job, log):
        jobs.append(job)
        return compiled(job, log)

    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", measure))
    return jobs


def edges(records):
    found = {strategy: sorted(r.case.batch for r in records if r.case.strategy == strategy) for strategy in EACH}
    return {strategy: sorted(found[strategy])[-len(EDGES[strategy]) :] for strategy in found}


def ignore(record):
    """Shows nothing."""


def test_each_search_ends_at_its_own_edge_and_its_records_are_kept(folder):
    shown = []
    found = run_search(REQUEST, folder, compiled, shown.append)
    assert edges(found) == EDGES
    assert store.load_records(folder) == found == shown
    assert run_search(REQUEST, folder, pytest.fail, ignore) == found


def test_searches_run_side_by_side(folder):
    """Each of two waits for the other at its first batch."""
    if os.cpu_count() == 1:
        pytest.skip("one core compiles one program at a time")
    meeting = threading.Barrier(2, timeout=60)

    def measure(job, log):
        if job.case.batch == 1:
            meeting.wait()
        return compiled(job, log)

    two = replaced(REQUEST, cases=STARTS[:2])
    assert len({record.case.strategy for record in run_search(two, folder, measure, ignore)}) == 2


def test_searches_on_the_local_device_take_turns(folder):
    busy = threading.Lock()

    def measure(job, log):
        assert busy.acquire(blocking=False)
        try:
            return compiled(job, log)
        finally:
            busy.release()

    local = tuple(replaced(start, target="local") for start in STARTS)
    request = replaced(REQUEST, cases=local, search=Search(memory_budget=8 * GIB))
    found = run_search(request, folder, measure, ignore)
    assert max(r.case.batch for r in found if r.case.strategy == "none") == 9  # of 8 GiB
    assert {record.value("capacity_bytes") for record in found} == {8 * GIB}


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_an_interrupted_search_can_be_continued(folder, stop_at):
    made = []

    def measure(job, log):
        made.append(job.key)
        if len(made) == stop_at:
            raise KeyboardInterrupt
        return compiled(job, log)

    with pytest.raises(KeyboardInterrupt):
        run_search(REQUEST, folder, measure, ignore)
    kept = store.load_records(folder)
    found = run_search(REQUEST, folder, measure, ignore)
    assert found[: len(kept)] == kept
    assert edges(found) == EDGES
    assert len({record.key for record in found}) == len(found)


def test_a_request_goes_to_json_and_back():
    for request in (REQUEST, replaced(REQUEST, search=Search(GIB, 8, 512)), RunSpec("remat", STARTS)):
        assert run_spec.run_spec_from_json(json.loads(json.dumps(run_spec.run_spec_to_json(request)))) == request


WRONG = [
    ((), ("'local'", "--memory-budget")),
    (("--target", "tpu:v9"), ("'tpu:v9'", f"local, {', '.join(targets.load_descriptions())}")),
    (("--target", "tpu:v5e", "--strategy", "some"), ("'some'", "none, all")),
    (("--memory-budget", "lots"), ("--memory-budget", "'lots'")),
    (("--memory-budget", "1GiB", "--limit", "4", "--multiple-of", "8"), ("limit 4", "8")),
    (("--memory-budget", "1GiB", "--multiple-of", "0"), ("--multiple-of", "0")),
    (("--batch", "8"), ("--batch",)),
    (("--memory-budget", "1GiB", "--mesh", "data=4,fsdp=2"), ("'data=4,fsdp=2'", "--multiple-of 8")),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_use_is_one_line_and_nothing_is_written(arguments, words, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused("max-batch", *arguments)
    assert [word for word in words if word not in error] == []
    assert (fake, list(tmp_path.iterdir())) == ([], [])


def test_a_missing_compiler_is_one_line_with_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: None)
    error = refused("max-batch", "--target", "tpu:v5e", "--out", tmp_path)
    assert all(name in error for name in ("'tpu:v5e'", "pip install 'artifex-bench[tpu-aot]'"))


def test_the_command_and_a_later_report_write_the_same_files(fake, tmp_path):
    asked = ("--strategy", "none,all", "--target", "tpu:v5e,gpu:h100", "--out", tmp_path, "--name", "run")
    done = call("max-batch", *asked)
    assert done.exit_code == 0, done.output
    assert {job.steps for job in fake} == {0}
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        *("run.json", "records.jsonl", ".lock", "logs", "plots"),
        *("table.csv", "table.md", "max_batch.csv", "max_batch.json"),
    }
    assert [path.name for path in (folder / "plots").iterdir()] == ["max_batch.png"]
    text = (folder / "table.md").read_text()
    (folder / "table.md").unlink()
    again = call("report", folder)
    assert again.exit_code == 0 and (folder / "table.md").read_text() == text
    assert again.stdout.splitlines()[:4] == done.stdout.splitlines()[:4]
    count = len(fake)
    assert call("run", "--resume", folder).exit_code == 0 and len(fake) == count


def test_the_default_strategies_are_none_and_all(tmp_path):
    options = {"out": tmp_path}
    _, request = spec.max_batch_run({**options, "memory_budget": GIB, "multiple_of": 8, "limit": 64})
    assert [(case.strategy, case.batch) for case in request.cases] == [("none", 8), ("all", 8)]


SMALL = ("--model", "mlp", "--depth", "8", "--width", "64", "--strategy", "none,all")


def rows(folder):
    return {row["strategy"]: row for row in json.loads((folder / "max_batch.json").read_text())}


def test_the_local_device_within_a_memory_budget(tmp_path):
    how = ("--memory-budget", "4MiB", "--multiple-of", "256", "--out", str(tmp_path), "--name", "run")
    printed, _ = bench("max-batch", *SMALL, *how)
    found = rows(tmp_path / "run")
    for row in found.values():
        assert row["largest_peak_bytes"] <= 4 * 2**20 < row["failing_peak_bytes"]
        assert row["failing_batch"] == row["largest_batch"] + 256
        assert row["estimated_samples_per_second"] is None
    assert found["all"]["largest_batch"] > found["none"]["largest_batch"]
    assert "4.00 MiB" in printed


@installed("tpu:v5e")
@installed("gpu:h100")
def test_aot_targets(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTIFEX_BENCH_CACHE", str(tmp_path / "cache"))
    where = ("--target", "tpu:v5e,gpu:h100", "--memory-budget", "64MiB", "--out", str(tmp_path), "--name", "run")
    bench("max-batch", *SMALL[:-1], "all", *where)
    found = json.loads((tmp_path / "run" / "max_batch.json").read_text())
    assert [row["target"] for row in found] == ["gpu:h100", "tpu:v5e"]
    for row in found:
        assert row["largest_peak_bytes"] <= 64 * 2**20 < row["failing_peak_bytes"]
        assert row["estimated_samples_per_second"] > 0


def test_a_batch_whose_peak_is_not_known_is_reported(folder):
    """Its record is ok, but has no compiled peak."""
    unknown = [
        record(replaced(STARTS[0], batch=batch), measurements=(taken("capacity_bytes", GIB),)) for batch in (1, 2)
    ]
    for one in unknown:
        store.append_record(folder, one)
    done = call("report", folder)
    assert done.exit_code == 0 and done.exception is None, done.output
    assert "batch 1 does not fit" in done.stdout
