"""Run specs from options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench import targets
from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError
from artifex_bench.core.fields import axis_names
from artifex_bench.core.kind import check_axes
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.sweep import spec
from tests.build import SUITES

NOTHING = {"compiler_default": False}
GRIDS = (
    {"model": "transformer", "strategy": ("none", "all"), "depth": (2, 4), "width": 32},
    {"model": ("mlp", "vae"), "strategy": "none", "depth": 8, "width": 64},
)


def cases_of(grids=GRIDS, **options):
    kind = load_kind("remat")
    given = spec._given_axes(kind, options)
    check_axes(kind, "remat", given)
    return kind.expand(kind, grids, given)


def values_of(found, *axes):
    return {tuple(getattr(case, axis) for axis in axes) for case in found}


def test_a_preset_alone():
    found = cases_of()
    assert values_of(found, "model", "strategy", "depth") == {
        *(("transformer", strategy, depth) for strategy in ("none", "all") for depth in (2, 4)),
        ("mlp", "none", 8),
        ("vae", "none", 8),
    }


def test_axes_given_replace_those_of_the_preset():
    found = cases_of(depth=[6], strategy=["every-2"])
    assert values_of(found, "depth") == {(6,)}
    assert values_of(found, "strategy") == {("none",), ("every-2",)}
    assert values_of(found, "model", "width") == {("transformer", 32), ("mlp", 64), ("vae", 64)}


def test_each_mesh_has_its_own_baseline():
    found = cases_of(model=["transformer"], depth=[2], strategy=["all"], mesh=["none", "fsdp=2,data=4"])
    assert values_of(found, "strategy", "mesh") == {
        (strategy, mesh) for strategy in ("none", "all") for mesh in (None, "data=4,fsdp=2")
    }


def test_a_model_takes_the_axes_of_its_own_grid():
    assert values_of(cases_of(model=["vae"]), "model", "depth") == {("vae", 8)}
    assert values_of(cases_of(model=["mlp", "transformer"]), "model", "depth") == {
        ("mlp", 8),
        ("transformer", 2),
        ("transformer", 4),
    }


def test_a_model_without_a_grid_takes_the_axes_of_the_first():
    found = cases_of(GRIDS[:1], model=["vae"])
    assert values_of(found, "model", "depth", "width") == {("vae", 2, 32), ("vae", 4, 32)}


def test_every_group_begins_with_its_baseline():
    found = cases_of(strategy=["all"], model=["transformer"])
    assert [(case.strategy, case.depth) for case in found] == [("none", 2), ("all", 2), ("none", 4), ("all", 4)]


def test_axes_that_a_model_does_not_have_add_no_cases():
    assert values_of(cases_of(model=["mlp"], sequence=[16, 32], heads=[2, 4]), "sequence", "heads") == {(None, None)}
    assert len(cases_of(model=["mlp"], sequence=[16, 32], heads=[2, 4])) == 1


def test_compiler_default_sets_the_axis():
    assert values_of(cases_of(compiler_default=True), "compiler") == {("default",)}
    assert values_of(cases_of(compiler_default=False), "compiler") == {("faithful",)}


@given(st.lists(st.sampled_from((1, 2, 4, 8)), min_size=1, max_size=6))
def test_a_repeated_value_is_one_case(batches):
    found = cases_of(batch=batches, model=["transformer"], strategy=["none"], depth=[2])
    assert [case.batch for case in found] == list(dict.fromkeys(batches))


def test_a_users_model_is_imported_before_anything_runs():
    with pytest.raises(CaseError, match=r"'no_such_module'.*PYTHONPATH"):
        cases_of(model=["no_such_module:Model"])
    with pytest.raises(CaseError, match=r"'json'.*'Model'"):
        cases_of(model=["json:Model"])
    with pytest.raises(CaseError, match=r"json:JSONDecoder.*loss\(batch, run\).*batch\(case, key\)"):
        cases_of(model=["json:JSONDecoder"])


def test_a_new_run(tmp_path):
    options = {**NOTHING, "suite": "remat", "preset": "smoke", "out": tmp_path, "name": "mine"}
    folder, request = spec.new_run(options["suite"], options)
    assert folder == tmp_path / "mine"
    settings = SUITES["remat"].settings["smoke"]
    assert (request.suite, request.rounds, request.steps) == ("remat", settings["rounds"], settings["steps"])
    assert (request.timeout, request.memory_limit) == (600.0, None)
    assert run_spec.run_spec_from_json(store.read_manifest(folder)) == request


def test_settings_can_be_given(tmp_path):
    how = {"rounds": 3, "steps": 0, "timeout": 1.5, "memory_limit": 2**30}
    _, request = spec.new_run("remat", {**NOTHING, "preset": "smoke", "out": tmp_path, **how})
    assert {name: getattr(request, name) for name in how} == how


def test_the_default_name_is_suite_preset_and_time(tmp_path):
    folder, _ = spec.new_run("chen", {**NOTHING, "preset": "smoke", "out": tmp_path})
    assert folder.parent == tmp_path
    assert folder.name.startswith("chen-smoke-2")


@pytest.mark.parametrize("suite", SUITES)
def test_the_default_preset(tmp_path, monkeypatch, suite):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")  # whatever compilers are installed here
    _, request = spec.new_run(suite, {**NOTHING, "out": tmp_path, "name": "run"})
    module = SUITES[suite]
    assert request.cases == spec.expand_preset(suite, module.default, {})


def test_resuming_without_the_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")
    options = {**NOTHING, "suite": "remat-aot", "preset": "smoke", "out": tmp_path}
    folder, request = spec.new_run(options["suite"], options)
    assert spec.resume_run(folder) == request
    monkeypatch.setattr(targets, "_version", lambda package: None)
    with pytest.raises(CaseError, match=r"artifex-bench\[gpu-aot\]"):
        spec.resume_run(folder)


@pytest.mark.parametrize("name", ["a/b", "/abs", "a/", "..", ".", "../up", "n" * 256, "é" * 128])
def test_a_name_that_is_not_a_folder_name_is_refused(tmp_path, name):
    with pytest.raises(CaseError, match=re.escape(repr(name))):
        spec.new_run("remat", {**NOTHING, "preset": "smoke", "out": tmp_path / "out", "name": name})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [{"name": "a\udcff"}, {"name": "run", "out": "a\udcff"}])
def test_a_folder_that_is_not_utf_8_is_refused(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    where |= {"out": Path(where["out"])} if "out" in where else {}
    with pytest.raises(CaseError, match=r"a\\udcff"):
        spec.new_run("remat", {**NOTHING, "preset": "smoke", **where})
    assert list(tmp_path.iterdir()) == []


def create_run(tmp_path):
    return spec.new_run("remat", {**NOTHING, "preset": "smoke", "out": tmp_path, "name": "run"})


def test_a_resumed_run_has_its_own_spec(tmp_path):
    folder, request = create_run(tmp_path)
    assert spec.resume_run(folder) == request


@pytest.mark.parametrize("text", ["{}", '{"cases": 3}', '{"cases": [{"kind": "fft"}]}', '{"cases": [], "colour": 1}'])
def test_resuming_with_a_damaged_manifest_is_refused(tmp_path, text):
    folder, _ = create_run(tmp_path)
    (folder / store.MANIFEST).write_text(text)
    with pytest.raises(store.StoreError, match=re.escape(str(folder / store.MANIFEST))):
        spec.resume_run(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_has_the_options_of_its_kind_only(kind):
    name = next(iter(load_kind(kind).suites))
    offered = {option.name for option in main.commands["run"].get_command(None, name).params}
    every = {axis for other in KINDS for axis in axis_names(load_kind(other).case_type)}
    assert offered & every == set(axis_names(load_kind(kind).case_type))
    assert set(spec.HOW) <= offered
