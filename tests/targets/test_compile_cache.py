"""The cache of AOT compilations."""

from __future__ import annotations

import pytest

from artifex_bench.targets import compile_cache, load_description
from tests.build import replaced

FIGURES = {"peak": 12, "parts": {"argument_bytes": 3, "formula": "f"}, "flops": None}


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("ARTIFEX_BENCH_CACHE", str(tmp_path))
    return compile_cache.entry_path("program", load_description("tpu:v5e"), {"a": 1})


def test_written_figures_can_be_read_and_no_draft_is_left(kept):
    assert compile_cache.read_entry(kept) is None
    compile_cache.write_entry(kept, FIGURES)
    assert compile_cache.read_entry(kept) == FIGURES
    assert list(kept.parent.iterdir()) == [kept]


def test_program_device_options_and_compiler_each_have_their_own(kept, monkeypatch):
    v5e = load_description("tpu:v5e")
    others = [
        compile_cache.entry_path("another", v5e, {"a": 1}),
        compile_cache.entry_path("program", load_description("tpu:v5p"), {"a": 1}),
        compile_cache.entry_path("program", replaced(v5e, topology={}), {"a": 1}),
        compile_cache.entry_path("program", v5e, {"a": 2}),
    ]
    monkeypatch.setattr(compile_cache, "compiler_versions", lambda name: {"libtpu": "another"})
    others.append(compile_cache.entry_path("program", v5e, {"a": 1}))
    assert len({kept, *others}) == 6


def test_a_damaged_file_and_an_impossible_folder_have_no_figures(kept, tmp_path):
    kept.parent.mkdir()
    kept.write_text("{torn")
    assert compile_cache.read_entry(kept) is None
    (tmp_path / "file").write_text("")
    compile_cache.write_entry(tmp_path / "file" / "compiled" / "x.json", FIGURES)


def test_it_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ARTIFEX_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = compile_cache.entry_path("p", load_description("gpu:h100"), {})
    assert path.parent == tmp_path / "cache" / "artifex-bench" / "compiled"
