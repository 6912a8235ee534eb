"""Records beside asv's results: written while `asv run` measures, and read back by `load_asv`."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess

import pandas as pd
import pytest

from artifex_bench import load_asv
from artifex_bench.core.case import CaseError
from artifex_bench.core.store import StoreError, write_records
from artifex_bench.integrations.asv_results import FOLDER, locate_asv_records
from artifex_bench.kinds.frames import make_frame
from tests.build import record
from tests.integrations.fabricated import FAILING, sweep


def find_head(repository):
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()


def test_asv_results_are_those_of_the_run(project):
    table = load_asv(project.folder / ".asv" / "results", commit=project.commit[:7], environment="existing")
    pd.testing.assert_frame_equal(table, make_frame(sweep()))
    assert set(table[table.strategy == FAILING].status) == {"oom"}


def test_asv_stores_its_own_numbers_of_the_same_measurements(project):
    results = project.folder / ".asv" / "results"
    (path,) = (path for path in (results / "here").glob("*.json") if path.name != "machine.json")
    stored = json.loads(path.read_text())["results"]
    table = load_asv(results).set_index(["model", "strategy"])
    for model in ("transformer", "mlp"):
        peaks, (strategies, *_) = stored[f"remat.{model.capitalize()}.track_peak_bytes"][:2]
        for peak, strategy in zip(peaks, strategies, strict=True):
            row = table.loc[model, strategy.strip("'")]
            assert peak == row.compiled_peak_bytes or row.status == "oom"


def test_asv_ignores_the_records(project):
    for command in (("show", project.commit), ("publish",)):
        assert "Skipping" not in project.asv(*command)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Keeps records as a measurement under asv does: `measured(commit, environment, machine, records)`."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    commits = []
    for time in (2000000000, 1900000000):  # the first is the newest
        how = {"GIT_AUTHOR_DATE": f"{time} +0000", "GIT_COMMITTER_DATE": f"{time} +0000"}
        command = [*git, "commit", "-q", "--allow-empty", "-m", "change"]
        subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, **how})
        commits.append(find_head(tmp_path))
    (tmp_path / "asv.conf.json").write_text('{"results_dir": "results"}')

    def keep(commit, environment, machine, records):
        monkeypatch.setenv("ASV_COMMIT", commits[commit])
        monkeypatch.setenv("ASV_ENV_NAME", environment)
        monkeypatch.setattr(platform, "node", lambda: machine)
        path = locate_asv_records(tmp_path / "asv.conf.json", tmp_path)
        write_records(path, records)
        return path

    keep.commits = commits
    return keep


def test_the_newest_commit_or_the_one_that_is_named(measured, tmp_path):
    measured(1, "existing", "desk", [record("all")])
    measured(0, "existing", "desk", [record("none")])
    old, new = measured.commits[1], measured.commits[0]
    assert list(load_asv(tmp_path / "results").strategy) == ["none"]
    assert list(load_asv(tmp_path / "results", commit=old[:7]).strategy) == ["all"]
    with pytest.raises(CaseError) as refused:
        load_asv(tmp_path / "results", commit="x")
    assert old in str(refused.value) and new in str(refused.value)


def test_a_commit_that_is_measured_again_replaces_its_records(measured, tmp_path):
    measured(0, "existing", "desk", [record("none"), record("all")])
    measured(0, "existing", "desk", [record("none")])
    assert len(load_asv(str(tmp_path / "results"))) == 1


def test_environments_and_machines_are_named_if_there_are_several(measured, tmp_path):
    measured(1, "python3.11", "old", [record("none")])  # another commit, which matters to none of the others
    measured(0, "python3.11", "desk", [record("none")])
    measured(0, "python3.14", "desk", [record("all")])
    measured(0, "python3.14", "server.example", [record("every-2")])
    with pytest.raises(CaseError, match=r"environment=.*python3\.11, python3\.14"):
        load_asv(tmp_path / "results")
    assert list(load_asv(tmp_path / "results", environment="python3.11").strategy) == ["none"]
    with pytest.raises(CaseError, match=r"machine=.*desk, server\.example"):
        load_asv(tmp_path / "results", environment="python3.14")
    table = load_asv(tmp_path / "results", environment="python3.14", machine="server.example")
    assert list(table.strategy) == ["every-2"]


def test_an_existing_environment_is_that_of_the_commit_checked_out(measured, tmp_path, monkeypatch):
    path = measured(0, "other", "desk", [])
    for name in ("ASV_COMMIT", "ASV_ENV_NAME"):
        monkeypatch.delenv(name)
    here = locate_asv_records(tmp_path / "asv.conf.json", tmp_path)
    assert here == path.parents[2] / f"1900000000-{find_head(tmp_path)}" / "existing" / "desk.jsonl"


def test_results_without_records_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "c0ffee.json").write_text("{}")  # as asv stores them, and as all older versions did
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="asv run") as refused:
            load_asv(folder)
        assert str(folder / FOLDER) in str(refused.value) and "\n" not in str(refused.value)


def test_damaged_records_are_refused_with_the_line(measured, tmp_path):
    path = measured(0, "existing", "desk", [record("none")])
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(StoreError, match="line 2") as refused:
        load_asv(tmp_path / "results")
    assert str(path) in str(refused.value)


def test_a_beginning_of_several_commits_is_refused(measured, tmp_path):
    paths = [measured(commit, "existing", "desk", [record(how)]) for commit, how in ((1, "all"), (0, "none"))]
    for path, digest in zip(paths, ("abc1", "abc2"), strict=True):
        folder = path.parents[1]
        folder.rename(folder.with_name(f"{folder.name.partition('-')[0]}-{digest}"))
    with pytest.raises(CaseError, match="abc1, abc2"):
        load_asv(tmp_path / "results", commit="abc")
    assert list(load_asv(tmp_path / "results", commit="abc1").strategy) == ["all"]


@pytest.mark.parametrize("what", ["commit", "environment", "machine"])
def test_a_choice_that_is_no_text_is_refused_in_one_line(measured, tmp_path, what):
    measured(0, "existing", "desk", [record("none")])
    with pytest.raises(CaseError, match=f"^{what} 5: .*$"):
        load_asv(tmp_path / "results", **{what: 5})


def test_a_commit_that_git_does_not_know_is_refused_in_one_line(measured, tmp_path, monkeypatch):
    measured(0, "existing", "desk", [])
    for name in ("nope", "", "--all", "--help"):
        monkeypatch.setenv("ASV_COMMIT", name)
        with pytest.raises(StoreError, match=re.escape(f"{name!r} in {tmp_path}: ")) as refused:
            locate_asv_records(tmp_path / "asv.conf.json", tmp_path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("without", ["repository", "git", "folder"])
def test_a_folder_without_git_is_refused_in_one_line(tmp_path, monkeypatch, without):
    (tmp_path / "asv.conf.json").write_text("{}")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("ASV_COMMIT", raising=False)
    if without == "git":
        monkeypatch.setenv("PATH", "")
    folder = tmp_path / "gone" if without == "folder" else tmp_path
    with pytest.raises(StoreError, match=re.escape(f"{folder}: ")) as refused:
        locate_asv_records(tmp_path / "asv.conf.json", folder)
    assert "\n" not in str(refused.value)


def test_a_results_dir_that_is_no_text_is_refused_in_one_line(measured, tmp_path):
    measured(0, "existing", "desk", [])
    (tmp_path / "asv.conf.json").write_text('{"results_dir": 3}')
    with pytest.raises(StoreError, match=r"^.*asv\.conf\.json: results_dir 3: .*$"):
        locate_asv_records(tmp_path / "asv.conf.json", tmp_path)
