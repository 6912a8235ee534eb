"""The command line: wrong use, exit codes, output, full disks and signals."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import re
import shlex
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
from artifex_bench.remat.strategies import POLICIES, list_strategies
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


# arguments, and what the message must contain: the value, and the valid choices or the option that helps
WRONG = [
    (("run", "remat", "--timeout", "1e300"), "timeout 1e+300", "1000000000"),
    (("run", "remat", "--rounds", "10000000"), "rounds 10000000", "1000000"),
    (("run",), ", ".join(SUITES)),
    (("run", "speed"), "'speed'", ", ".join(SUITES)),
    (("run", "reamt"), "'reamt'", "did you mean 'remat'?"),
    (("run", "remat", "--preset", "huge"), "'huge'", "smoke, quick, asv, gpu, tpu, full"),
    (("run", "remat", "--preset", "quik"), "'quik'", "did you mean 'quick'?"),
    (("--model", "gpt"), "'gpt'", f"{', '.join(models.MODELS)}, package.module:attribute"),
    (("--model", "no_such_module:Model"), "'no_such_module:Model'", "PYTHONPATH"),
    (("--strategy", "some"), "'some'", ", ".join(list_strategies())),
    (("--strategy", "dots_savable"), "'dots_savable'", "did you mean 'dots_saveable'?"),
    (("--strategy", "every-0"), "'0'", "'every-'"),
    (("--strategy", "all/some"), "'all/some'", "'some'", ", ".join(POLICIES)),
    (("--strategy", "all/"), ", ".join(POLICIES)),
    (("--strategy", "save_only_these_names:quary"), "'quary'", TRANSFORMER_TAGS),
    (("--strategy", "router-only"), "'router'", "attention, mlp"),
    (("--width", "30"), "width 30", "heads 4"),
    (("--batch", "-1"), "batch -1"),
    (("--batch", "0"), "batch 0"),
    (("--batch", "8,0"), "batch 0"),
    (("--batch", "many"), "--batch", "'many'"),
    (("--batch", "2.5"), "--batch", "'2.5'"),
    (("--depth", "4,,8"), "--depth", "'4,,8'"),
    (("--depth", ""), "--depth", "''"),
    (("--seed", "-1"), "seed -1", "4294967295"),
    (("--dtype", "float64"), "'float64'", "bfloat16, float32"),
    (("--layers", "loop"), "'loop'", "scan, unroll"),
    (("--step", "half"), "'half'", "gradient, train"),
    (("--target", "tpu:v9"), "'tpu:v9'", f"local, {', '.join(targets.load_descriptions())}"),
    (("--target", "tpu:v5e:3x3"), "'tpu:v5e:3x3'", "2x2, 2x4, "),
    (("--target", "tpu:v5e:2x4"), "'tpu:v5e:2x4'", "8 devices", "--mesh"),
    (("--target", "tpu:v5e", "--mesh", "data=4"), "4 devices", "'tpu:v5e'", "1 device"),
    (("--mesh", "rows=2"), "'rows=2'", "data, fsdp, tensor"),
    (("--mesh", "data=3"), "batch 4", "'data=3'"),
    (("--mesh", "tensor=8"), "heads 4", "tensor=8"),
    (("--model", "mlp", "--width", "30", "--mesh", "tensor=4"), "width 30", "tensor=4"),
    (("--heads", "6", "--width", "96", "--mesh", "tensor=3"), "256", "tensor=3"),
    (("--mesh", "data=2", "--strategy", "budget-0.5"), "'budget-0.5'", "mesh"),
    (("--model", "tests.remat.measure.test_program:Model", "--mesh", "tensor=2"), "tensor"),
    (("--optimizer", "lion"), "'lion'", "adam, adamw, sgd"),
    (("--memory-limit", "lots"), "--memory-limit", "'lots'"),
    (("--memory-limit", "0"), "--memory-limit", "'0'"),
    (("--timeout", "nan"), "--timeout", "'nan'"),
    (("--timeout", "0"), "--timeout", "'0'"),
    (("--rounds", "0"), "--rounds", "0"),
    (("--rounds", "two"), "--rounds", "two"),
    (("--steps", "-1"), "--steps", "-1"),
    (("--name", "a/b"), "'a/b'", "--out"),
    (("--name", ".."), "'..'", "--out"),
    (("--name", "n" * 300), "255"),
    (("--colour", "red"), "--colour"),
    (("--stratgy", "all"), "'--stratgy'", "'--strategy'"),
    (("run", "remat", "chen"), "chen"),
    (("run", "remat", "--across"), "--across"),
    (("run", "--across"), "--resume"),
    (("run", "--resume", "results/run", "remat"), "--resume"),
    (("run", "--resume", "nowhere"), "nowhere", "run.json"),
    (("report",), "FOLDER"),
    (("report", "nowhere"), "nowhere", "run.json"),
    (("list", "colours"), "'colours'", ", ".join(catalogue.LISTS)),
    (("list", "startegies"), "'startegies'", "did you mean 'strategies'?"),
    (("bench",), "'bench'"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=[" ".join(arguments)[:40] for arguments, *_ in WRONG])
def test_wrong_use_is_one_line_and_nothing_is_written(wrong, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = fake()
    arguments, *words = wrong
    error = refused(*(("run", "remat", "--preset", "smoke", *arguments) if arguments[0][0] == "-" else arguments))
    assert [word for word in words if word not in error] == []
    assert log == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_compiler_is_one_line_with_the_extra_to_install(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0" if package == "jax-cuda12-plugin" else None)
    log = fake()
    error = refused(*SMOKE, "--out", tmp_path, "--target", "cpu,tpu:v5e")
    assert all(name in error for name in ("'tpu:v5e'", "libtpu", "pip install 'artifex-bench[tpu-aot]'"))
    assert "jax-cuda12-pjrt, nvidia-cuda-nvcc-cu12" in refused(*SMOKE, "--target", "gpu:h100")
    assert log == []
    assert call(*SMOKE, "--out", tmp_path, "--target", "cpu").exit_code == 0
    assert {one.case.target for one in store.load_records(tmp_path / "run")} == {"local"}


def test_a_run_in_a_pipe_prints_one_line_per_job_and_ends_with_the_table(fake, plots, tmp_path):
    log = fake()
    done = call(*SMOKE, "--out", tmp_path, "--rounds", 2)
    folder = tmp_path / "run"
    assert done.exit_code == 0
    assert log == [f"measure {strategy} {number}" for number in (0, 1) for strategy in ("none", "all")]
    first, *lines, last = done.stderr.splitlines()
    assert first.startswith("4 ") and str(folder) in first and str(folder) in last
    for number, line in enumerate(lines):
        strategy, current = ("none", "all")[number % 2], number // 2 + 1
        assert line.startswith(f"[{number + 1}/4] transformer {strategy} ") and f" {current}/2: " in line
        assert "11.0 ms" in line and "4.88 KiB" in line and ("no-op" in line) == (strategy == "all")
    title = done.stdout.splitlines()[0]
    assert all(word in title for word in ("transformer", "depth 2", "width 32", "batch 4", "float32", "scan"))
    assert {"run.json", RECORDS, "table.csv", "table.md", "plots"} <= {path.name for path in folder.iterdir()}


def test_a_failed_case_is_reported_and_the_exit_code_is_1(fake, tmp_path):
    fake({"all": "oom"})
    done = call(*SMOKE, "--out", tmp_path)
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("oom: ")]
    assert "transformer all " in line and line.endswith("it was oom")
    assert [one.status for one in store.load_records(tmp_path / "run")] == ["ok", "oom"]


def test_a_skipped_case_is_no_failure(fake, tmp_path):
    fake({"all": "skipped"})
    assert call(*SMOKE, "--out", tmp_path).exit_code == 0


def test_a_run_whose_cases_all_fail_has_a_table(fake, tmp_path):
    fake({"none": "failed", "all": "failed"})
    done = call(*SMOKE, "--out", tmp_path)
    assert done.exit_code == 1
    for strategy in ("none", "all"):
        assert re.search(rf"^{strategy} .* failed *$", done.stdout, re.MULTILINE)
        assert f"{strategy}: failed: it was failed\n" in done.stdout


def test_names_in_brackets_are_printed_unchanged(fake, tmp_path):
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
    assert error.startswith(f"{folder} ") and f"--resume {folder}" in error and "--name" in error
    assert log == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "more",
    [("--depth", "4"), ("--steps", "0"), ("--timeout", "9"), ("--preset", "smoke"), ("--compiler-default",)],
)
def test_resuming_with_other_options_is_refused(fake, tmp_path, more):
    call(*SMOKE, "--out", tmp_path)
    log = fake()
    del log[:]
    error = refused("run", "--resume", tmp_path / "run", *more)
    assert more[0] in error
    assert log == []


def test_resuming_a_finished_run_measures_nothing(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    log = fake()
    del log[:]
    done = call("run", "--resume", tmp_path / "run")
    assert (done.exit_code, log) == (0, [])
    assert done.stderr.startswith("0 ")


def test_a_run_of_another_machine_names_the_command_that_resumes_it(fake, tmp_path):
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
    assert all(word in error for word in (f"Error: {folder} ", "cpu one", "other", f"--resume {folder} --across"))
    assert call("run", "--resume", folder, "--across").exit_code == 0


def test_a_run_of_other_versions_is_resumed_only_across_them(fake, tmp_path):
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
    assert all(word in error for word in (f"{folder} ", "jax 0.0.1", installed, f"--resume {folder} --across"))
    assert (folder / RECORDS).read_bytes() == lines[0]
    assert call("run", "--resume", folder, "--across").exit_code == 0
    assert len(store.load_records(folder)) == 2
    assert refused(*SMOKE, "--out", tmp_path / "new", "--across").count("--across") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"executor": "cloud"}, ("'cloud'", "local, package.module:attribute")),
        ({"suite": 5}, ("run.json", "suite 5")),
        ({"rounds": "2"}, ("run.json", "rounds '2'")),
    ],
)
def test_an_edited_manifest_is_one_line(fake, tmp_path, change, words):
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    manifest = {**store.read_manifest(folder), **change}
    (folder / store.MANIFEST).write_text(json.dumps(manifest))
    commands = (("run", "--resume"),) if "executor" in change else (("run", "--resume"), ("report",), ("advise",))
    for command in commands:
        error = refused(*command, folder)
        assert all(word in error for word in words)


def test_a_run_in_use_is_refused(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    folder = tmp_path / "run"
    before = (folder / RECORDS).read_bytes()
    with store.lock_run(folder):
        done = call("run", "--resume", folder)
    assert done.exit_code in (1, 2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert str(folder) in errors[0]
    assert (folder / RECORDS).read_bytes() == before


def test_a_damaged_line_is_named_and_the_file_left_alone(fake, tmp_path):
    call(*SMOKE, "--out", tmp_path)
    path = tmp_path / "run" / RECORDS
    path.write_bytes(b"damage\n" + path.read_bytes())
    before = path.read_bytes()
    for command in (("run", "--resume"), ("report",)):
        assert f"{path} line 1: " in refused(*command, tmp_path / "run")
    assert path.read_bytes() == before


def test_a_damaged_line_is_deleted_and_its_case_measured_again_as_the_error_says(fake, tmp_path):
    folder = tmp_path / "a run"
    call(*SMOKE[:-1], folder.name, "--out", tmp_path)
    path = folder / RECORDS
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"damage\n" + second)
    error = refused("report", folder)
    assert f"{path} line 2: " in error
    (delete,) = re.findall(r"sed -i \d+d '[^']*'", error)
    (resume,) = re.findall(r"artifex-bench (run --resume '[^']*')", error)
    subprocess.run(shlex.split(delete), check=True)
    assert path.read_bytes() == first + second
    path.write_bytes(first)
    assert call(*shlex.split(resume)).exit_code == 0
    assert len(store.load_records(folder)) == 2


def test_report_makes_the_same_tables_and_plots_from_the_records(fake, plots, tmp_path):
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


def test_a_report_without_records_names_the_command_that_resumes_the_run(tmp_path):
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(run_spec.RunSpec("remat", (record().case,))))
    error = refused("report", tmp_path / "run")
    assert f"--resume {tmp_path / 'run'}" in error


def test_list_shows_every_section_or_one():
    whole = call("list")
    assert whole.exit_code == 0
    for title, make_list in catalogue.LISTS.items():
        entries = make_list()
        one = call("list", title)
        assert one.stdout in whole.stdout
        lines = one.stdout.splitlines()
        assert lines[0] == f"{title}:"
        assert [re.split(r"  +", line.strip())[0] for line in lines[1:]] == list(entries)


def test_the_version_is_printed():
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


def measure_silently(job, path):
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
    error = refused(*SMOKE[:-1], "new", "--out", folder)
    assert os.strerror(errno.EROFS) in error and "--out" in error
    log = fake()
    del log[:]
    resumed = call("run", "--resume", folder / "run")
    assert resumed.exit_code in (1, 2)
    assert f"{folder / 'run'}: {os.strerror(errno.EROFS)}" in error_line(resumed)
    assert log == []
    assert os.strerror(errno.EROFS) in refused("report", folder / "run")


@pytest.mark.parametrize("full", ["size=24k", "size=4m,nr_inodes=6"])
def test_a_full_disk_keeps_the_records_and_the_run_can_be_resumed_when_there_is_space(fake, disk, full):
    """Full of bytes, or full of files."""
    folder = disk(full)
    fake(measure=measure_silently)
    done = call(*SMOKE, "--out", folder, "--rounds", 9, "--strategy", "none,all,every-2")
    assert done.exit_code in (1, 2)
    assert os.strerror(errno.ENOSPC) in error_line(done)
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


def test_a_disk_without_space_for_a_run(fake, disk):
    folder = disk("size=4k")
    (folder / "other").write_bytes(b"x" * 4096)
    error = refused(*SMOKE, "--out", folder)
    assert os.strerror(errno.ENOSPC) in error and "--out" in error


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
def interrupted_run(cwd):
    """Yield the command, which waits in the first job of round 1, and the id of that worker."""
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


def check_resumes(cwd):
    """Resume the run, and check that no record is lost or doubled."""
    kept = store.load_records(cwd / "results" / "run")
    assert [one.round for one in kept] == [0, 0]
    (cwd / "go on").touch()
    with command("run", "--resume", "results/run", cwd=cwd) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.startswith("2 ")
    found = store.load_records(cwd / "results" / "run")
    assert found[:2] == kept
    assert [(one.case.strategy, one.round) for one in found] == [("none", 0), ("all", 0), ("none", 1), ("all", 1)]


def test_ctrl_c_stops_cleanly_keeps_the_records_and_names_the_command_that_resumes(tmp_path):
    with interrupted_run(tmp_path) as (process, worker):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("artifex-bench run --resume results/run")
    assert "Traceback" not in errors
    assert not running(worker)
    check_resumes(tmp_path)


def test_kill_9_of_the_command_loses_nothing(tmp_path):
    with interrupted_run(tmp_path) as (process, worker):
        process.kill()
    assert process.returncode == -signal.SIGKILL
    if running(worker):
        os.kill(worker, signal.SIGKILL)  # this fake does not ask to die with its parent, as the real one does
    check_resumes(tmp_path)


@pytest.mark.parametrize("unbuffered", ["", "1"])  # Python's own variable
@pytest.mark.parametrize("words", [("list",), ("--version",)])
def test_output_that_cannot_be_written_is_one_line(words, unbuffered):
    command = [sys.executable, "-m", "artifex_bench", *words]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=env)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("Error: ") and os.strerror(errno.ENOSPC) in error


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", ["pipe", "descriptor"])
def test_a_closed_output_is_quiet(how, unbuffered):
    command = [sys.executable, "-m", "artifex_bench", "list"]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    closed = {} if how == "descriptor" else {"stdout": write}
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *command] if how == "descriptor" else command
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, env=env, **closed)
    os.close(write)
    assert done.stderr == "" and done.returncode == (1 if how == "pipe" else 0)
