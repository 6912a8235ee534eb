"""`artifex-bench profile`: wrong use, two cases with a fake executor, and a real profile of a tiny mlp."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from click.testing import CliRunner

from artifex_bench.cli import main
from artifex_bench.cli.profile import case_folder
from artifex_bench.core import store
from artifex_bench.execution.executors import EXECUTORS, Executor
from artifex_bench.report.plots import style
from tests.build import record
from tests.cli.test_cli import refused
from tests.memory_profile.test_tables import ROWS, profiled, row
from tests.test_end_to_end import bench

TINY = ("--model", "mlp", "--depth", "3", "--width", "16", "--batch", "8", "--steps", "2")


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def fake(monkeypatch):
    """An executor that measures nothing. Returns the jobs that it received."""
    jobs = []
    monkeypatch.setitem(style._STYLE, "figure.dpi", 30)

    def put(statuses=None):
        def measure(job, log):
            jobs.append(job)
            status = (statuses or {}).get(job.case.strategy, "ok")
            if status != "ok":
                return record(job.case, status, reason=f"it was {status}")
            rows = [row(300, "tanh"), *ROWS] if job.case.strategy == "none" else ROWS
            return record(job.case, measurements=profiled(rows=rows).measurements)

        monkeypatch.setitem(EXECUTORS, "local", Executor("fake", measure))
        return jobs

    put()
    return put


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--depth", "4,8"), ("depth [4, 8]", "--strategy")),
        (("--strategy", "none,all,every-2"), ("['none', 'all', 'every-2']",)),
        (("--strategy", "some"), ("'some'", "none, all")),
        (("--model", "gpt"), ("'gpt'", "mlp, transformer, vae")),
        (("--model", "no_such_module:Model"), ("'no_such_module'",)),
        (("--width", "30"), ("width 30", "heads 4")),
        (("--name", "a/b"), ("'a/b'",)),
        (("--rounds", "2"), ("--rounds",)),
    ],
)
def test_wrong_use_is_one_line_and_nothing_is_written(arguments, error, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = fake()
    line = refused("profile", *arguments)
    assert all(word in line for word in error)
    assert (jobs, list(tmp_path.iterdir())) == ([], [])


def test_two_strategies_are_shown_side_by_side(fake, tmp_path):
    jobs = fake()
    done = call("profile", "--strategy", "none,segments-2/dots_saveable", "--out", tmp_path, "--name", "two")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "two"
    assert [job.profile for job in jobs] == [
        str(folder / name / "trace") for name in ("none", "segments-2_dots_saveable")
    ]
    assert [job.cache for job in jobs] == [None, None]  # a cached program may have no buffer assignment
    assert re.search(r"^ *\+300 B +300 B +0 B +layers/mlp +tanh", done.stdout, re.MULTILINE)
    assert {path.name for path in folder.iterdir()} >= {
        *("none", "segments-2_dots_saveable", "removed.csv", "live.png", "timeline.html")
    }
    assert len(store.load_records(folder)) == 2


def test_a_case_that_failed_is_reported_and_the_other_is_shown(fake, tmp_path):
    fake({"all": "oom"})
    done = call("profile", "--strategy", "none,all", "--out", tmp_path, "--name", "failed")
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("oom: transformer all depth=4 ")]
    assert line.endswith(": it was oom")
    assert "none: " in done.stdout and "all: " not in done.stdout
    assert not (tmp_path / "failed" / "removed.csv").exists()


def test_an_interrupted_profile_shows_its_cases_and_can_be_resumed(fake, tmp_path, monkeypatch):
    fake()
    whole = EXECUTORS["local"].run

    def stopped(job, log):
        if job.case.strategy == "all":
            raise KeyboardInterrupt
        return whole(job, log)

    with monkeypatch.context() as patch:
        patch.setitem(EXECUTORS, "local", Executor("fake", stopped))
        done = call("profile", "--strategy", "none,all", "--out", tmp_path, "--name", "stopped")
    folder = tmp_path / "stopped"
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1].endswith(f"artifex-bench run --resume {folder}")
    assert (folder / "none" / "buffers.csv").exists()
    done = call("run", "--resume", folder)
    assert done.exit_code == 0, done.stderr
    assert (folder / "all" / "buffers.csv").exists()
    assert (folder / "removed.csv").exists()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    out = tmp_path_factory.mktemp("profiles")
    printed, _ = bench("profile", *TINY, "--strategy", "none,all", "--out", str(out), "--name", "mlp")
    return out / "mlp", printed


def test_a_real_profile_sums_to_the_compiled_peak_and_the_residuals(real):
    folder, printed = real
    records = {one.case.strategy: one for one in store.load_records(folder)}
    assert set(records) == {"none", "all"}
    for strategy, one in records.items():
        buffers, residuals = (pd.read_csv(folder / strategy / name) for name in ("buffers.csv", "residuals.csv"))
        assert buffers.bytes.sum() == one.value("compiled_peak_bytes")
        assert residuals.bytes.sum() == one.value("residual_bytes")
        assert (buffers.operation == "not attributed").sum() == 0
        assert f"{strategy}: " in printed
    removed = pd.read_csv(folder / "removed.csv")
    peaks = [records[name].value("compiled_peak_bytes") for name in ("none", "all")]
    assert removed.difference.sum() == peaks[0] - peaks[1]


def test_a_real_profile_has_timelines_that_name_its_buffers(real):
    folder, printed = real
    for path in (folder / "timeline.html", folder / "none" / "timeline.html", folder / "all" / "timeline.html"):
        assert str(path) in printed
        assert "models/mlp.py:" in path.read_text()


def test_a_real_trace_is_one_that_perfetto_opens(real):
    import gzip

    folder, printed = real
    (path,) = (folder / "none" / "trace").rglob("perfetto_trace.json.gz")
    assert str(path) in printed
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = [event for event in events if event.get("name") == "step" and event.get("ph") == "X"]
    assert [event["args"]["step_num"] for event in steps] == ["0", "1"]
    assert any(event.get("args", {}).get("hlo_op") for event in events)
    assert list((folder / "none" / "trace").rglob("*.xplane.pb"))
    spans = [event for event in events if event.get("ph") == "X"]
    assert all({"name", "pid", "tid", "ts", "dur"} <= event.keys() for event in spans)
    named = {(event["pid"], event["tid"]) for event in events if event.get("name") == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in spans} <= named
    for thread in named:  # Perfetto drops what begins within another and ends beyond it
        open_until: list[float] = []
        own = (event for event in spans if (event["pid"], event["tid"]) == thread)
        for event in sorted(own, key=lambda event: (event["ts"], -event["dur"])):
            while open_until and open_until[-1] <= event["ts"]:
                open_until.pop()
            end = event["ts"] + event["dur"]
            assert not open_until or end <= open_until[-1] + 1e-3, event
            open_until.append(end)


def test_a_real_trace_is_one_that_xprof_opens(real):
    convert = pytest.importorskip("xprof.convert.raw_to_tool_data", reason="XProf is not installed: pip install xprof")
    folder, _ = real
    (path,) = (folder / "none" / "trace").rglob("*.xplane.pb")
    printed, _ = convert.xspace_to_tool_data([str(path)], "trace_viewer", {})
    events = json.loads(printed)["traceEvents"]
    assert [name for event in events if (name := event.get("name", "")).startswith("step ")] == ["step 0", "step 1"]


def test_a_profile_is_a_run_that_can_be_reported(real):
    folder, _ = real
    done = call("report", folder, "--no-plots")
    assert done.exit_code == 0, done.output
    assert "mlp: depth 3, width 16, batch 8" in done.stdout


def test_folders_of_cases_hold_no_slashes(tmp_path):
    one = profiled("save_from_both_policies:dots_saveable++save_only_these_names:probs")
    assert case_folder(tmp_path, one).parent == tmp_path
