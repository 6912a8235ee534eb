"""The command as a user meets it: wrong use, exit codes, what it prints, and disks and signals that spoil a run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench import models, targets
from artifex_bench.cli import catalogue, main
from artifex_bench.core import run_spec, store
from artifex_bench.core.store import RECORDS
from artifex_bench.remat.strategies import POLICIES, names
from tests.build import SUITES, record

SMOKE = ("run", "remat", "--preset", "smoke", "--name", "run")
TRANSFORMER_TAGS = ", ".join(models.MODELS["transformer"].tags)


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments):
    """The one error line of a command that exits with 2 and without a traceback."""
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    (error,) = done.stderr.splitlines()
    assert error.startswith("Error: ")
    return error.removeprefix("Error: ")


@pytest.fixture
def plots():
    """For tests that want plots drawn."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Leaves the plots out elsewhere: they take a second."""
    if "plots" not in request.fixturenames:
        monkeypatch.setattr("artifex_bench.report.plots.write_plots", lambda *_: [])


WRONG = [
    (("run", "remat", "--timeout", "1e300"), "timeout 1e+300: must be a number <= 1000000000.0"),
    (("run", "remat", "--rounds", "10000000"), "rounds 10000000: must be a whole number <= 1000000"),
    (("run",), f"name a suite to run: {', '.join(SUITES)}"),
    (("run", "speed"), f"unknown suite 'speed': valid are {', '.join(SUITES)}"),
    (("run", "remat", "--preset", "huge"), "unknown preset 'huge': valid are smoke, quick, asv, full"),
    (("--model", "gpt"), f"unknown model 'gpt': valid are {', '.join(models.MODELS)}, package.module:attribute"),
    (("--model", "no_such_module:Model"), "model 'no_such_module:Model': cannot import 'no_such_module'"),
    (("--strategy", "some"), f"unknown strategy 'some': valid are {', '.join(names())}"),
    (("--strategy", "every-0"), "'0' after 'every-' must be a whole number of 1 or more"),
    (("--strategy", "all/some"), f"strategy 'all/some': unknown policy 'some': valid are {', '.join(POLICIES)}"),
    (("--strategy", "all/"), f"a policy must follow the slash: valid are {', '.join(POLICIES)}"),
    (
        ("--strategy", "save_only_these_names:quary"),
        f"transformer tags nothing 'quary': its names are {TRANSFORMER_TAGS}",
    ),
    (("--strategy", "router-only"), "layers of transformer have no part 'router': parts are attention, mlp"),
    (("--width", "30"), "transformer: width 30 is not divisible by heads 4: choose a multiple"),
    (("--batch", "-1"), "batch -1: must be a whole number of 1 or more"),
    (("--batch", "0"), "batch 0: must be a whole number of 1 or more"),
    (("--batch", "8,0"), "batch 0: must be a whole number of 1 or more"),
    (("--batch", "many"), "Invalid value for '--batch': 'many': must be whole numbers separated by commas"),
    (("--batch", "2.5"), "Invalid value for '--batch': '2.5': must be whole numbers separated by commas"),
    (("--depth", "4,,8"), "Invalid value for '--depth': '4,,8': an empty entry"),
    (("--depth", ""), "Invalid value for '--depth': '': an empty entry"),
    (("--seed", "-1"), "seed -1: must be a whole number from 0 to 4294967295"),
    (("--dtype", "float64"), "unknown dtype 'float64': valid are bfloat16, float32"),
    (("--layers", "loop"), "unknown layers 'loop': valid are scan, unroll"),
    (("--step", "half"), "unknown step 'half': valid are gradient, train"),
    (("--target", "tpu:v9"), f"unknown target 'tpu:v9': valid are local, {', '.join(targets.load_descriptions())}"),
    (("--target", "tpu:v5e:3x3"), "target 'tpu:v5e:3x3': tpu:v5e has no topology '3x3': valid are 2x2, 2x4, "),
    (("--target", "tpu:v5e:2x4"), "target 'tpu:v5e:2x4' has 8 devices: choose with --mesh"),
    (
        ("--target", "tpu:v5e", "--mesh", "data=4"),
        "takes 4 devices, and target 'tpu:v5e' has 1 device: choose",
    ),
    (("--mesh", "rows=2"), "mesh 'rows=2': must be axes, each once with its devices, such as data=4,fsdp=2; valid are"),
    (("--mesh", "data=3"), "batch 4: must be a multiple of 3, over which mesh 'data=3' splits it"),
    (("--mesh", "tensor=8"), "transformer: heads 4 is not divisible by tensor=8 of the mesh, which splits them"),
    (("--model", "mlp", "--width", "30", "--mesh", "tensor=4"), "width 30 is not divisible by tensor=4 of the mesh"),
    (("--heads", "6", "--width", "96", "--mesh", "tensor=3"), "the vocabulary of 256 is not divisible by tensor=3"),
    (
        ("--mesh", "data=2", "--strategy", "budget-0.5"),
        "strategy 'budget-0.5': plans for one device: leave",
    ),
    (
        ("--model", "tests.remat.measure.test_program:Model", "--mesh", "tensor=2"),
        "what the axis tensor of a mesh splits",
    ),
    (("--optimizer", "lion"), "unknown optimizer 'lion': valid are adam, adamw, sgd"),
    (("--memory-limit", "lots"), "'--memory-limit': 'lots': must be a size such as 8GiB, 512MiB or 16GB"),
    (("--memory-limit", "0"), "'--memory-limit': '0': must be a size such as 8GiB, 512MiB or 16GB"),
    (
        ("--timeout", "nan"),
        "'--timeout': 'nan': must be seconds, or a time such as 30min or 4h, more than 0",
    ),
    (
        ("--timeout", "0"),
        "'--timeout': '0': must be seconds, or a time such as 30min or 4h, more than 0",
    ),
    (("--rounds", "0"), "Invalid value for '--rounds': 0 is not in the range x>=1"),
    (("--steps", "-1"), "Invalid value for '--steps': -1 is not in the range x>=0"),
    (("--name", "a/b"), "name 'a/b': must be a folder's name: no slashes"),
    (("--name", ".."), "name '..': must be a folder's name: no slashes"),
    (("--name", "n" * 300), "must be a folder's name: no slashes, 255 bytes at most"),
    (("--colour", "red"), "No such option"),
    (("run", "remat", "chen"), "Got unexpected extra argument (chen)"),
    (("run", "--resume", "nowhere"), "nowhere holds no run: it has no run.json"),
    (("report",), "Missing argument 'FOLDER'"),
    (("report", "nowhere"), "nowhere holds no run: it has no run.json"),
    (("list", "colours"), f"unknown list 'colours': valid are {', '.join(catalogue.make_catalogue())}"),
    (("bench",), "No such command 'bench'"),
]


@pytest.mark.parametrize(("arguments", "error"), WRONG, ids=[" ".join(arguments)[:40] for arguments, _ in WRONG])
def test_wrong_use_is_one_line_and_nothing_is_written(arguments, error, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = fake()
    assert error in refused(
        *(("run", "remat", "--preset", "smoke", *arguments) if arguments[0][0] == "-" else arguments)
    )
    assert log == []
    assert list(tmp_path.iterdir()) == []


def test_a_target_whose_compiler_is_not_installed_is_one_line_that_says_what_to_install(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0" if package == "jax-cuda12-plugin" else None)
    log = fake()
    error = refused(*SMOKE, "--out", tmp_path, "--target", "cpu,tpu:v5e")
    assert all(name in error for name in ("'tpu:v5e'", "(libtpu missing)", "pip install 'artifex-bench[tpu-aot]'"))
    assert "(jax-cuda12-pjrt, nvidia-cuda-nvcc-cu12 missing)" in refused(*SMOKE, "--target", "gpu:h100")
    assert log == []
    assert call(*SMOKE, "--out", tmp_path, "--target", "cpu").exit_code == 0
    assert {one.case.target for one in store.load_records(tmp_path / "run")} == {"local"}


def test_a_run_in_a_pipe_tells_each_visit_in_a_line_and_ends_with_the_table(fake, plots, tmp_path):
    log = fake()
    done = call(*SMOKE, "--out", tmp_path, "--rounds", 2)
    folder = tmp_path / "run"
    assert done.exit_code == 0
    assert log == [f"measure {strategy} {number}" for number in (0, 1) for strategy in ("none", "all")]
    assert done.stderr.splitlines() == [
        f"4 jobs (2 cases, 2 rounds) into {folder}",
        "[1/4] transformer none depth=2 width=32 batch=4 sequence=16 round 1/2: step 11.0 ms, compiled peak 4.88 KiB",
        "[2/4] transformer all depth=2 width=32 batch=4 sequence=16 round 1/2: "
        "step 11.0 ms, compiled peak 4.88 KiB, no-op",
        "[3/4] transformer none depth=2 width=32 batch=4 sequence=16 round 2/2: step 11.0 ms, compiled peak 4.88 KiB",
        "[4/4] transformer all depth=2 width=32 batch=4 sequence=16 round 2/2: "
        "step 11.0 ms, compiled peak 4.88 KiB, no-op",
        f"tables and plots: {folder}",
    ]
    assert done.stdout.splitlines()[0].strip() == "transformer: depth 2, width 32, batch 4, sequence 16, float32, scan"
    assert {"run.json", RECORDS, "table.csv", "table.md", "plots"} <= {path.name for path in folder.iterdir()}


def test_a_case_that_fell_is_told_and_the_exit_code_is_1(fake, tmp_path):
    fake({"all": "oom"})
    done = call(*SMOKE, "--out", tmp_path)
    assert done.exit_code == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("oom: ")]
    assert told == ["oom: transformer all depth=2 width=32 batch=4 sequence=16: it was oom"]
    assert [one.status for one in store.load_records(tmp_path / "run")] == ["ok", "oom"]


def test_a_skipped_case_is_no_failure(fake, tmp_path):
    fake({"all": "skipped"})
    assert call(*SMOKE, "--out", tmp_path).exit_code == 0


def test_everything_failing_is_a_table_all_the_same(fake, tmp_path):
    fake({"none": "failed", "all": "failed"})
    done = call(*SMOKE, "--out", tmp_path)
    assert done.exit_code == 1
    for strategy in ("none", "all"):
        assert re.search(rf"^{strategy} .* failed *$", done.stdout, re.MULTILINE)
        assert f"{strategy}: failed: it was failed\n" in done.stdout


def test_names_in_brackets_are_told_as_they_are(fake, tmp_path):
    done = call(*SMOKE[:-1], "[bold]run", "--out", tmp_path / "out[")
    assert done.exit_code == 0
    assert done.stderr.count(str(tmp_path / "out[" / "[bold]run")) == 2


def test_an_existing_run_is_refused_and_left_as_it_is(fake, tmp_path):
    log = fake()
    call(*SMOKE, "--out", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    del log[:]
    folder = tmp_path / "run"
    error = refused(*SMOKE, "--out", tmp_path)
    assert error == f"{folder} already holds a run: go on with --resume {folder}, or choose another --name"
    assert log == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "more",
    [("--depth", "4"), ("--steps", "0"), ("--timeout", "9"), ("--preset", "smoke"), ("--compiler-default",)],
)
def test_going_on_with_something_else_is_refused(fake, tmp_path, more):
    call(*SMOKE, "--out", tmp_path)
    log = fake()
    del log[:]
    error = refused("run", "--resume", tmp_path / "run", *more)
    assert more[0] in error
    assert log == []


def test_a_finished_run_is_gone_on_with_at_once(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    log = fake()
    del log[:]
    done = call("run", "--resume", tmp_path / "run")
    assert (done.exit_code, log) == (0, [])
    assert done.stderr.startswith("0 jobs (2 cases, 1 rounds)")


def test_a_run_of_another_machine_names_the_command_that_goes_on(fake, tmp_path):
    def on(cpu):
        def measure(job, path):
            path.write_text("")
            return record(job.case, round=job.round, environment={"cpu": cpu})

        return measure

    fake(measure=on("one"))
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    lines = (folder / RECORDS).read_bytes().splitlines(keepends=True)
    (folder / RECORDS).write_bytes(lines[0])
    fake(measure=on("other"))
    done = call("run", "--resume", folder)
    assert (done.exit_code, (folder / RECORDS).read_bytes()) == (2, lines[0])
    _, error = done.stderr.splitlines()  # after how many jobs are left
    assert error.startswith(f"Error: {folder} was measured with cpu one, and now it is other: ")
    assert error.endswith(f"mix both with --resume {folder} --across")
    assert call("run", "--resume", folder, "--across").exit_code == 0


def test_a_run_of_other_versions_goes_on_only_across_them(fake, tmp_path):
    def measure(job, path):
        path.write_text("")
        return record(job.case, round=job.round, environment={"versions": {"jax": "0.0.1", "numpy": None}})

    fake(measure=measure)
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    assert call("run", "--resume", folder).exit_code == 0  # nothing is left to be measured
    lines = (folder / RECORDS).read_bytes().splitlines(keepends=True)
    (folder / RECORDS).write_bytes(lines[0])
    error = refused("run", "--resume", folder)
    installed = importlib.metadata.version("jax")
    assert error.startswith(f"{folder} was measured with jax 0.0.1 (now {installed}): ")
    assert (folder / RECORDS).read_bytes() == lines[0]
    assert call("run", "--resume", folder, "--across").exit_code == 0
    assert len(store.load_records(folder)) == 2
    assert refused(*SMOKE, "--out", tmp_path / "new", "--across").startswith("No such option '--across'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"executor": "cloud"}, "unknown executor 'cloud': valid are local, package.module:attribute"),
        ({"suite": 5}, "cannot read {folder}/run.json: suite 5: must be text"),
        ({"rounds": "2"}, "cannot read {folder}/run.json: rounds '2': must be a whole number"),
    ],
)
def test_an_edited_manifest_is_one_line(fake, tmp_path, change, message):
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    manifest = {**store.read_manifest(folder), **change}
    (folder / store.MANIFEST).write_text(json.dumps(manifest))
    commands = (("run", "--resume"),) if "executor" in change else (("run", "--resume"), ("report",), ("advise",))
    for command in commands:
        assert refused(*command, folder) == message.format(folder=folder)


def test_a_run_in_use_is_refused(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    before = (folder / RECORDS).read_bytes()
    with store.lock_run(folder):
        done = call("run", "--resume", folder)
    assert done.exit_code in (1, 2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert f"{folder} is in use by another run" in errors[0]
    assert (folder / RECORDS).read_bytes() == before


def test_a_damaged_line_is_named_and_the_file_left_alone(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    path = tmp_path / "run" / RECORDS
    path.write_bytes(b"damage\n" + path.read_bytes())
    before = path.read_bytes()
    for command in (("run", "--resume"), ("report",)):
        assert f"{path} line 1: " in refused(*command, tmp_path / "run")
    assert path.read_bytes() == before


def test_report_makes_the_same_tables_and_plots_from_the_records_alone(fake, plots, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    before = {name: (folder / name).read_bytes() for name in ("table.csv", "table.md", "plots/tradeoff.png")}
    for name in before:
        (folder / name).unlink()
    done = call("report", folder)
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line.startswith(str(folder))] == [
        str(folder / name) for name in before
    ]
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_report_without_plots(fake, plots, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    (tmp_path / "run" / "plots" / "tradeoff.png").unlink()
    assert call("report", tmp_path / "run", "--no-plots").exit_code == 0
    assert not (tmp_path / "run" / "plots" / "tradeoff.png").exists()


def test_a_report_of_no_records_says_how_to_go_on(tmp_path):
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(run_spec.RunSpec("remat", (record().case,))))
    error = refused("report", tmp_path / "run")
    assert error == f"{tmp_path / 'run'} holds no records yet: go on with --resume {tmp_path / 'run'}"


def test_list_shows_every_section_or_one():
    whole = call("list")
    assert whole.exit_code == 0
    for title, entries in catalogue.make_catalogue().items():
        one = call("list", title)
        assert one.stdout in whole.stdout
        lines = one.stdout.splitlines()
        assert lines[0] == f"{title}:"
        assert [re.split(r"  +", line.strip())[0] for line in lines[1:]] == list(entries)


def test_the_version_is_told():
    assert re.fullmatch(r"artifex-bench.*, version \d+\.\d+\.\d+\n|.*version \d+\.\d+\.\d+\n", call("--version").stdout)


# Disks that spoil a run.


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own: `disk("size=64k")`; again with "remount,…" changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(options):
        nonlocal mounted
        command = ["mount", "-t", "tmpfs", "-o", options, "artifex_test", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"cannot mount a small file system here: {getattr(error, 'stderr', error)}".strip())
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def measure_without_a_word(job, path):
    return record(job.case, round=job.round)


def error_line(done):
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.output
    return errors[0]


def test_a_read_only_results_folder(fake, disk):
    folder = disk("size=4m")
    call(*SMOKE, "--out", folder, "--rounds", 1)
    disk("remount,ro")
    assert "Read-only file system; choose another --out" in refused(*SMOKE[:-1], "new", "--out", folder)
    log = fake()
    del log[:]
    going_on = call("run", "--resume", folder / "run")
    assert going_on.exit_code in (1, 2)
    assert f"cannot write {folder / 'run'}: Read-only file system" in error_line(going_on)
    assert log == []
    assert "Read-only file system" in refused("report", folder / "run")


@pytest.mark.parametrize("full", ["size=24k", "size=4m,nr_inodes=6"])
def test_a_full_disk_keeps_what_is_there_and_the_run_goes_on_when_there_is_room(fake, disk, full):
    """Full of bytes, or full of files."""
    folder = disk(full)
    fake(measure=measure_without_a_word)
    done = call(*SMOKE, "--out", folder, "--rounds", 9, "--strategy", "none,all,every-2")
    assert done.exit_code in (1, 2)
    said = error_line(done)
    assert "No space left on device" in said
    run = folder / "run"
    kept = store.load_records(run)
    assert len(kept) < 27
    assert store.cut_torn_line(run) == 0  # nothing half-written
    disk("remount,size=8m,nr_inodes=1000")
    assert call("run", "--resume", run).exit_code == 0
    found = store.load_records(run)
    assert found[: len(kept)] == kept
    assert [one.key for one in found] == [
        job.key for job in run_spec.run_spec_from_json(store.read_manifest(run)).make_jobs(run)
    ]


def test_a_disk_without_room_for_a_run_at_all(fake, disk):
    folder = disk("size=4k")
    (folder / "other").write_bytes(b"x" * 4096)
    assert "No space left on device; choose another --out" in refused(*SMOKE, "--out", folder)


# Signals.

FAKE_COMMAND = """
import subprocess, sys, types
sys.modules["artifex_bench.report.plots"] = types.SimpleNamespace(write_plots=lambda *_: [])  # takes seconds
from artifex_bench.cli import main
from artifex_bench.execution.executors import EXECUTORS, Executor, local
def start(stdin, stdout, stderr):
    return subprocess.Popen(worker, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
worker = (sys.executable, "-S", "-c", '''
import json, os, sys, time
job = json.load(sys.stdin)
number = {"probe": "step_seconds", "unit": "seconds", "values": [1.5]}
print(json.dumps({"environment": {"pid": os.getpid()}}), json.dumps({"measurement": number}), sep="\\\\n", flush=True)
if job["round"] == 1 and not os.path.exists("go on"):
    open("pid", "w").write(str(os.getpid()))
    time.sleep(600)
print(json.dumps({"status": "ok", "reason": ""}))
''')
EXECUTORS["local"] = Executor("fake", lambda job, log: local.run_job(job, log, start))
main()
"""


def command(*arguments, cwd):
    code = [sys.executable, "-c", FAKE_COMMAND, *map(str, arguments)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin", "MPLCONFIGDIR": str(cwd)}
    return subprocess.Popen(
        code,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def held_up(cwd):
    """The command, waiting in the first job of round 1; and the process it waits for."""
    with command("run", "remat", "--preset", "smoke", "--rounds", "2", "--name", "run", cwd=cwd) as process:
        while not (cwd / "pid").exists() or not (cwd / "pid").read_text():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        yield process, int((cwd / "pid").read_text())


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def goes_on(cwd):
    """The rest of the run, resumed: no record is lost or doubled."""
    kept = store.load_records(cwd / "results" / "run")
    assert [one.round for one in kept] == [0, 0]
    (cwd / "go on").touch()
    with command("run", "--resume", "results/run", cwd=cwd) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.startswith("2 jobs")
    found = store.load_records(cwd / "results" / "run")
    assert found[:2] == kept
    assert [(one.case.strategy, one.round) for one in found] == [("none", 0), ("all", 0), ("none", 1), ("all", 1)]


def test_ctrl_c_stops_cleanly_keeps_what_is_there_and_says_how_to_go_on(tmp_path):
    with held_up(tmp_path) as (process, worker):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "stopped; what is measured is kept. To go on: artifex-bench run --resume results/run"
    )
    assert "Traceback" not in errors
    assert not running(worker)
    goes_on(tmp_path)


def test_kill_9_of_the_command_loses_nothing(tmp_path):
    with held_up(tmp_path) as (process, worker):
        process.kill()
    assert process.returncode == -signal.SIGKILL
    if running(worker):
        os.kill(worker, signal.SIGKILL)  # this fake does not ask to die with its parent, as the real one does
    goes_on(tmp_path)
