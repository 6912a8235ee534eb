"""The first line of a run: its device, the devices that it compiles for, and the accelerator that JAX does not use."""

from __future__ import annotations

import importlib.metadata

import pytest
from click.testing import CliRunner

from artifex_bench.cli import devices, main
from artifex_bench.core import store
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.execution.executors import EXECUTORS, Executor
from artifex_bench.targets import detection, load_description
from tests.build import backend, case

CPU = {
    "platform": "cpu",
    "device": "cpu",
    "devices": 1,
    "cpu": "EPYC",
    "cores": 1,
    "memory_bytes": 3 * 2**30,
    "versions": {"jax": "0.12.3"},
    "flags": {},
}
GPU = {**CPU, "platform": "gpu", "device": "NVIDIA H100", "devices": 8, "device_memory_bytes": 59 * 2**30}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("artifex_bench.report.plots.write_plots", lambda *_: [])


def describe(environment, *targets):
    return devices.describe_devices(RunSpec("remat", tuple(case(target=name) for name in targets)), environment)


def test_a_cpu_is_its_model_cores_memory_and_jax_version():
    assert describe(CPU, "local") == "device: CPU EPYC, 1 core, 3.00 GiB, jax 0.12.3"


def test_an_accelerator_is_its_kind_number_memory_and_jax_version():
    line = describe(GPU, "local")
    assert all(word in line for word in ("NVIDIA H100 x 8", "59.0 GiB", "jax 0.12.3"))
    without = {name: value for name, value in GPU.items() if name != "device_memory_bytes"}
    assert "GiB" not in describe(without, "local")


def test_aot_targets_are_named_as_compiled_for_and_jax_is_the_installed_one():
    line = describe({}, "tpu:v5e", "gpu:h100:8")
    chips = [load_description(name).chip for name in ("tpu:v5e", "gpu:h100")]
    assert all(word in line for word in ("compiled for", "tpu:v5e", "gpu:h100:8", *chips, " x 8"))
    assert f"jax {importlib.metadata.version('jax')}" in line and "device:" not in line
    both = describe(CPU, "local", "tpu:v5e")
    assert "CPU EPYC" in both and "compiled for tpu:v5e" in both and both.count("jax") == 1


@pytest.mark.parametrize(
    ("environment", "found", "extra"),
    [
        (CPU, ("NVIDIA GPU", "cuda13"), "cuda13"),
        (CPU, ("TPU", "tpu"), "tpu"),
        (CPU, None, None),
        (GPU, ("NVIDIA GPU", "cuda13"), None),
        ({**CPU, "flags": {"JAX_PLATFORMS": "cpu"}}, ("NVIDIA GPU", "cuda13"), None),
        ({}, ("NVIDIA GPU", "cuda13"), None),
    ],
)
def test_an_accelerator_that_jax_does_not_use_is_one_warning_with_what_to_install(
    monkeypatch, tmp_path, environment, found, extra
):
    monkeypatch.setattr(devices, "find_accelerator", lambda: found)
    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", backend([]), probe=lambda: environment))
    done = CliRunner().invoke(main, ["run", "remat", "--preset", "smoke", "--out", str(tmp_path)])
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert [f"pip install 'artifex-bench[{extra}]'" in line for line in warnings] == ([True] if extra else [])
    assert done.stderr.startswith("device: ") == bool(environment)


def with_chip(folder, vendor, device):
    place = folder / "0000:00:04.0"
    place.mkdir()
    (place / "vendor").write_text(f"{vendor}\n")
    (place / "device").write_text(f"{device}\n")
    return folder


def test_the_system_shows_gpus_by_device_files_and_tpus_on_the_pci_bus(tmp_path):
    empty, gpu, tpu, card = (tmp_path / name for name in ("empty", "gpu", "tpu", "card"))
    for folder in (empty, gpu, tpu, card):
        folder.mkdir()
    (gpu / "nvidia0").touch()
    assert detection.find_accelerator(empty, empty) is None
    assert detection.find_accelerator(gpu, empty) == ("NVIDIA GPU", "cuda13")
    assert detection.find_accelerator(empty, with_chip(tpu, "0x1ae0", "0x0063")) == ("TPU", "tpu")
    assert detection.find_accelerator(empty, with_chip(card, "0x1ae0", "0x0042")) is None  # Google's network card


def test_a_resumed_run_without_jobs_asks_no_device(monkeypatch, tmp_path):
    def refuse():
        raise AssertionError("nothing is measured")

    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", backend([])))
    smoke = ["run", "remat", "--preset", "smoke", "--out", str(tmp_path), "--name", "run"]
    assert CliRunner().invoke(main, smoke).exit_code == 0
    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", backend([]), probe=refuse))
    assert CliRunner().invoke(main, ["run", "--resume", str(tmp_path / "run")]).exit_code == 0


def test_every_command_that_measures_begins_with_the_environment_of_its_worker(tmp_path):
    """With the real executor: the line says what the records say."""
    tiny = ["--model", "mlp", "--depth", "1", "--width", "8", "--batch", "4", "--steps", "0", "--out", str(tmp_path)]
    for number, command in enumerate((["run", "remat", "--strategy", "none", "--rounds", "1"], ["profile"])):
        done = CliRunner().invoke(main, [*command, *tiny, "--name", str(number)])
        assert done.exit_code == 0, done.output
        (record,) = store.load_records(tmp_path / str(number))
        spec = RunSpec("remat", (record.case,))
        assert done.stderr.splitlines()[0] == devices.describe_devices(spec, record.environment)
        assert record.environment["versions"]["jax"] in done.stderr.splitlines()[0]
