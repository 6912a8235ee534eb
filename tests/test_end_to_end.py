"""End to end, through the command line: models are compiled and run, checkpoints are saved and damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifex_bench import benchmark_checkpointing, load_run
from artifex_bench.core import store
from artifex_bench.core.case import CaseError

ROOT = Path(__file__).parent.parent
SMALL = ["--width", "32", "--batch", "2", "--sequence", "16", "--rounds", "1", "--steps", "2"]
pytestmark = pytest.mark.timeout(900)  # real compilations, and the machine may be busy


def bench(*args, code=0):
    """Run the installed command. Returns (standard output, standard error)."""
    done = subprocess.run(
        [Path(sys.executable).with_name("artifex-bench"), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out / "smoke", bench("run", "remat", "--preset", "smoke", "--out", str(out), "--name", "smoke")


def test_a_run_measures_time_and_three_kinds_of_memory(smoke):
    folder, (printed, _) = smoke
    table = load_run(folder).set_index("strategy")
    assert list(table.status) == ["ok", "ok"]
    for column in ("residual_bytes", "compiled_peak_bytes", "measured_peak_bytes", "step_seconds", "compile_seconds"):
        assert (table[column] > 0).all(), column
    assert table.residual_bytes["all"] < table.residual_bytes["none"]
    assert table.recomputed_flops["all"] > 0 == table.recomputed_flops["none"]
    assert table.verdict["all"] == "effective"
    assert table.agrees["all"] is True or table.agrees["all"] == 1
    assert "transformer: depth 2" in printed
    assert "effective" in printed


def test_budgets_are_strategies_of_a_sweep(tmp_path):
    axes = ["--model", "transformer,mlp,vae", "--strategy", "all,budget-0.5,budget-1KiB", "--depth", "3"]
    where = ("--out", str(tmp_path), "--name", "budget")
    printed, _ = bench("run", "remat", *axes, *SMALL, *where, "--rounds", "2", code=1)
    loaded = store.load_records(tmp_path / "budget")
    records = {(r.case.model, r.case.strategy): r for r in loaded if r.round == 0}
    later = {(r.case.model, r.case.strategy): r for r in loaded if r.round == 1}
    for model in ("transformer", "mlp", "vae"):
        met, again = records[model, "budget-0.5"], later[model, "budget-0.5"]
        assert again.get("budget_bytes") is None  # planned once: the same program in every round
        assert again.value("compiled_peak_bytes") == met.value("compiled_peak_bytes")
        assert met.status == "ok" and met.agreement.ok
        assert met.value("compiled_peak_bytes") <= met.value("budget_bytes")
        assert len(met.get("budget_bytes").detail["compiled"]) <= 6
        missed = records[model, "budget-1KiB"]
        assert missed.status == "failed"
        assert "1KiB" in missed.reason
    assert records["transformer", "budget-0.5"].verdict.name == "effective"
    assert "budget-0.5" in printed


def test_a_run_leaves_tables_plots_and_nothing_else(smoke):
    folder, _ = smoke
    assert {p.name for p in folder.iterdir()} - {".lock"} == {
        *("run.json", "records.jsonl", "table.csv", "table.md", "plots", "logs")
    }
    assert {p.name for p in (folder / "plots").iterdir()} == {"tradeoff.png", "time_split.png"}


def test_a_finished_run_is_reported_and_resumed_without_measuring(smoke):
    folder, _ = smoke
    table, records = (folder / "table.md").read_text(), (folder / "records.jsonl").read_text()
    (folder / "table.md").unlink()
    bench("report", str(folder), "--no-plots")
    assert (folder / "table.md").read_text() == table
    _, stderr = bench("run", "--resume", str(folder))
    assert stderr.startswith("0 jobs")
    assert (folder / "records.jsonl").read_text() == records


def test_the_environment_is_recorded(smoke):
    environment = store.load_records(smoke[0])[0].environment
    assert environment["platform"] == "cpu"
    assert {"jax", "jaxlib", "flax", "optax"} <= set(environment["versions"])
    assert environment["cores"] >= 1


def test_a_user_model_and_a_policy_that_needs_host_memory(tmp_path):
    strategies = "save_only_these_names:hidden,offload_dot_with_no_batch_dims"
    args = ["--model", "examples.gated:Gated", "--strategy", strategies, "--depth", "2", *SMALL]
    bench("run", "remat", *args, "--out", str(tmp_path), "--name", "own")
    table = load_run(tmp_path / "own").set_index("strategy")
    assert table.status.to_dict() == {
        "none": "ok",
        "save_only_these_names:hidden": "ok",
        "offload_dot_with_no_batch_dims": "skipped",
    }
    assert table.residual_bytes["save_only_these_names:hidden"] < table.residual_bytes["none"]
    assert "no host memory" in table.reason["offload_dot_with_no_batch_dims"]


def test_a_case_over_the_memory_limit_is_recorded_and_the_sweep_continues(tmp_path):
    args = ["--model", "mlp", "--strategy", "none", "--depth", "2", "--batch", "2,4000000", "--width", "64"]
    how = ["--rounds", "1", "--steps", "1", "--memory-limit", "2GiB", "--step", "gradient"]
    _, stderr = bench("run", "remat", *args, *how, "--out", str(tmp_path), "--name", "limited", code=1)
    table = load_run(tmp_path / "limited").set_index("batch")
    assert table.status.to_dict() == {2: "ok", 4000000: "oom"}
    assert table.compiled_peak_bytes[4000000] > 2**30  # measurements before the failure are kept
    assert "oom" in stderr


def test_killed_and_resumed_with_no_record_lost_or_doubled(tmp_path):
    args = ["--model", "mlp", "--strategy", "none,all", "--depth", "2", "--width", "16", "--batch", "4", "--steps", "1"]
    command = [sys.executable, "-c", "from artifex_bench.cli import main; main()"]
    running = subprocess.Popen(
        [*command, "run", "remat", *args, "--rounds", "2", "--out", str(tmp_path), "--name", "killed"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    records = tmp_path / "killed" / "records.jsonl"
    while not records.exists() or not records.read_bytes().count(b"\n"):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    with records.open("ab") as file:
        file.write(b'{"torn')
    bench("run", "--resume", str(tmp_path / "killed"))
    keys = [(r["case"]["strategy"], r["round"]) for r in map(json.loads, records.read_text().splitlines())]
    assert sorted(keys) == [("all", 0), ("all", 1), ("none", 0), ("none", 1)]


def test_checkpoints_are_compared_with_a_raw_write(tmp_path):
    args = ["--format", "auto,orbax,npz,torch", "--size", "256KiB", "--arrays", "2", "--mode", "sync"]
    bench("run", "checkpoint", "--preset", "smoke", *args, "--out", str(tmp_path), "--name", "io")
    table = load_run(tmp_path / "io").set_index("format")
    completed = table[table.status == "ok"]
    assert {"auto", "orbax", "npz"} <= set(completed.index)
    assert (completed.write_ratio > 0).all() and (completed.read_ratio > 0).all()
    assert (completed.blocking_seconds <= completed.committed_seconds).all()
    assert (completed.state_bytes == 2**18).all()
    if "torch" not in completed.index:
        assert "pip install torch" in table.reason["torch"]


def test_asynchronous_sharded_and_resharded_checkpoints(tmp_path):
    args = ["--format", "auto", "--size", "256KiB", "--arrays", "2", "--devices", "2"]
    ways = ["--mode", "sync,async", "--restore", "same,reshard", "--steps", "1"]
    bench("run", "checkpoint", "--preset", "smoke", *args, *ways, "--out", str(tmp_path), "--name", "io")
    table = load_run(tmp_path / "io")
    assert list(table.status) == ["ok"] * 4
    assert (table.lost_seconds.notna()).all()


def test_our_checkpoints_are_never_silently_wrong_where_pickle_is(tmp_path):
    bench("run", "fault", "--preset", "smoke", "--out", str(tmp_path), "--name", "faults")
    table = load_run(tmp_path / "faults").set_index("format")
    assert list(table.status) == ["ok"] * 3
    assert table.silent_trials["auto"] == 0
    assert table.detected_trials["auto"] == 5
    assert table.silent_trials["pickle"] > 0


def test_benchmark_checkpointing_compares_strategies():
    figures = benchmark_checkpointing(num_layers=4, hidden_dim=32, batch_size=64, checkpoint_every_n=2)
    assert set(figures) == {"none", "all", "selective"}
    assert figures["none"]["time_ratio"] == figures["none"]["memory_ratio"] == 1
    residuals = [figures[name]["residual_bytes"] for name in ("all", "selective", "none")]
    assert residuals == sorted(residuals)
    assert figures["all"]["loss"] == pytest.approx(figures["none"]["loss"], rel=1e-6)
    assert all(row["time_per_step"] > 0 for row in figures.values())


def test_benchmark_checkpointing_refuses_invalid_sizes():
    with pytest.raises(CaseError, match="num_layers 0"):
        benchmark_checkpointing(0, 32, 4)
