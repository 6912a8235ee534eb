"""Cases without memory: the limit, the peak, and once the command to run next, which docs/out-of-memory.md shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench.cli import main
from artifex_bench.cli.failures import describe_memory, make_next_command
from artifex_bench.core import store
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import EXECUTORS, Executor
from tests.build import case, record, taken

PAGE = (Path(__file__).parents[2] / "docs" / "out-of-memory.md").read_text()
COMMANDS = re.findall(
    r"^artifex-bench .*$",
    "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.replace("\\\n", " "), re.DOTALL)),
    re.MULTILINE,
)
GIB = 2**30
PEAK = (taken("compiled_peak_bytes", 5 * GIB),)


@pytest.fixture(autouse=True)
def out_of_memory(monkeypatch):
    """An executor whose cases all compile and then have no memory, and commands that draw no plots."""
    monkeypatch.setattr("artifex_bench.report.plots.write_plots", lambda *_: [])

    def measure(job, log):
        log.write_text("")
        return record(job.case, "oom", round=job.round, measurements=PEAK, reason="RESOURCE_EXHAUSTED: it was")

    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", measure))


def call(line, *more):
    return CliRunner().invoke(main, [*shlex.split(line)[1:], *map(str, more)])


def test_the_page_runs_out_of_memory_and_profiles_with_the_command_that_is_printed(tmp_path):
    run, profile, *_ = COMMANDS
    done = call(run, "--out", tmp_path, "--name", "run")
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("oom: ")]
    assert all(word in line for word in ("1.46 GiB (--memory-limit)", "5.00 GiB", "RESOURCE_EXHAUSTED: it was"))
    assert [line for line in done.stderr.splitlines() if line.endswith(f": {profile}")] != []
    assert done.stderr.count("artifex-bench profile") == 1


def test_the_printed_command_profiles_the_case_itself(tmp_path):
    odd = case(model="transformer", strategy="save_only_these_names:query+key", depth=3, dtype="bfloat16", seed=7)
    done = call(make_next_command(odd), "--out", tmp_path, "--name", "profile")
    assert isinstance(done.exception, SystemExit | None)
    (found,) = store.load_records(tmp_path / "profile")
    assert found.case == odd


def test_several_cases_have_one_command(tmp_path):
    done = call("artifex-bench run remat --preset smoke", "--out", tmp_path, "--name", "run")
    assert sum(line.startswith("oom: ") for line in done.stderr.splitlines()) == 2
    assert done.stderr.count("artifex-bench profile") == 1


@pytest.mark.parametrize(
    ("limit", "environment", "words"),
    [
        (8 * GIB, {"device_memory_bytes": 9 * GIB, "memory_bytes": 10 * GIB}, ("8.00 GiB", "--memory-limit")),
        (None, {"device_memory_bytes": 9 * GIB, "memory_bytes": 10 * GIB}, ("9.00 GiB", "device")),
        (None, {"memory_bytes": 10 * GIB}, ("10.0 GiB", "machine")),
        (None, {}, ("not known",)),
    ],
)
def test_the_limit_is_the_processes_the_devices_or_the_machines(limit, environment, words):
    failed = record("none", "oom", measurements=PEAK, environment=environment)
    text = describe_memory(failed, RunSpec("remat", (failed.case,), memory_limit=limit))
    assert all(word in text for word in (*words, "5.00 GiB"))


def test_an_unknown_peak_is_no_number():
    failed = record("none", "oom")
    text = describe_memory(failed, RunSpec("remat", (failed.case,), memory_limit=GIB))
    assert text.count("GiB") == 1


def test_cases_that_cannot_be_profiled_have_no_command():
    from artifex_bench.core.case import CheckpointCase

    assert make_next_command(CheckpointCase()) is None
    assert make_next_command(case(target="tpu:v5e")) is None


def test_the_page_names_every_command_of_its_journey():
    assert [line.split()[1] for line in COMMANDS] == ["run", "profile", "run", "advise", "max-batch"]


def test_python_in_the_page_runs():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        names: dict[str, object] = {}
        exec(compile(block, "out-of-memory", "exec"), names)
        assert names["plan"].compiled_peak <= 12 * 2**20
