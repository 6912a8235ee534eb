"""Detection of the local device's kind."""

from __future__ import annotations

import pytest

from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.targets import detection, parse_target


@pytest.fixture(autouse=True)
def on_linux(monkeypatch):
    monkeypatch.setattr(detection.sys, "platform", "linux")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


def with_file(folder, file):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).touch()
    return folder


@pytest.mark.parametrize("file", ["nvidia0", "accel0", "vfio/0"])
def test_a_device_file_may_be_that_of_an_accelerator(tmp_path, file):
    assert not detection.may_have_accelerator(with_file(tmp_path, "null"))
    assert detection.may_have_accelerator(with_file(tmp_path, file))


def test_a_system_without_device_files_may_have_one(tmp_path, monkeypatch):
    monkeypatch.setattr(detection.sys, "platform", "darwin")
    assert detection.may_have_accelerator(tmp_path)


@pytest.mark.parametrize(
    ("platforms", "file", "installed", "cpu"),
    [
        ("", "null", True, True),
        ("", "nvidia0", True, False),
        ("", "nvidia0", False, True),  # a GPU that the installed JAX cannot use
        ("cpu", "nvidia0", True, True),
        ("cuda,cpu", "nvidia0", True, False),
    ],
)
def test_the_local_device_is_a_cpu(tmp_path, monkeypatch, platforms, file, installed, cpu):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(detection, "_is_installed", lambda package: installed)
    assert detection.is_local_device_cpu(with_file(tmp_path, file)) is cpu


def test_cpu_is_an_alias_of_local_if_that_is_a_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert parse_target("cpu") == LOCAL
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    with pytest.raises(CaseError, match="'local'"):
        parse_target("cpu")
    assert [parse_target(name) for name in ("local", "tpu:v5e")] == ["local", "tpu:v5e"]
