"""Formats: which cases they support, and a format of the user's own."""

from __future__ import annotations

import json
import sys

import pytest

from artifex_bench.checkpoint_io import corruption, save_restore
from artifex_bench.checkpoint_io.formats import FORMATS, CheckpointFormat, check_case, load_format
from artifex_bench.core.case import CaseError, CheckpointCase, FaultCase
from artifex_bench.core.job import Job, SkipJob

OWN = """
import pickle
from artifex_bench.checkpoint_io.formats import CheckpointFormat
from artifex_bench.checkpoint_io.peers import Pickle
class Text(Pickle):
    file_name = "state.mine"
MINE = CheckpointFormat("own_format:Text", "pickle under another name")
UNINSTALLED = CheckpointFormat("own_format:Text", "", needs=("no_such_package",))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_format.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_format:MINE"
    sys.modules.pop("own_format", None)


@pytest.mark.parametrize(
    ("format", "fields", "able"),
    [
        ("npz", {"mode": "async"}, "orbax"),
        ("npz", {"devices": 2}, "orbax"),
        ("orbax", {"restore": "partial"}, "auto"),
        ("npz", {"devices": 2, "restore": "reshard"}, "orbax-v1"),
        ("orbax", {"chunk": 2**20}, "auto"),
    ],
)
def test_a_case_that_its_format_does_not_support_is_refused_with_those_that_do(format, fields, able):
    with pytest.raises(CaseError) as refused:
        check_case(CheckpointCase(format=format, **fields))
    others = str(refused.value).rpartition("use ")[2].split(", ")
    assert able in others and format not in others and set(others) <= set(FORMATS)
    for other in others:
        check_case(CheckpointCase(format=other, **fields))


@pytest.mark.parametrize(
    "case",
    [
        CheckpointCase(format="npy"),
        CheckpointCase(restore="reshard"),
        CheckpointCase(size=8, arrays=2),
        FaultCase(format="npy"),
        FaultCase(fault="flip_bits"),
        FaultCase(format="json:dumps"),
        FaultCase(format="no_such_module:MINE"),
    ],
)
def test_impossible_cases_are_refused_in_one_line(case):
    with pytest.raises(CaseError) as refused:
        check_case(case)
    assert "\n" not in str(refused.value)


def test_a_format_of_the_users_own_is_measured(own, tmp_path):
    entry = load_format(own)
    assert isinstance(entry, CheckpointFormat) and entry.summary == "pickle under another name"
    check_case(FaultCase(own))
    counts = {m.probe: m.values[0] for m in corruption.measure(Job(FaultCase(own, "delete", trials=3)))}
    assert counts == {"detected_trials": 3, "intact_trials": 0, "silent_trials": 0}
    case = CheckpointCase(own, size=4096, arrays=2)
    taken = {m.probe: m for m in save_restore.measure(Job(case, steps=2))}
    assert set(taken) == set(save_restore.PROBES)
    assert taken["disk_files"].values == (1,) and len(taken["restore_seconds"].values) == 2


def test_a_case_whose_package_is_missing_is_skipped(own):
    with pytest.raises(SkipJob, match="no_such_package"):
        list(save_restore.measure(Job(CheckpointCase("own_format:UNINSTALLED"))))


def test_the_catalogue_lists_every_format():
    from artifex_bench.cli.catalogue import LISTS, axis_choices

    listed = LISTS["formats"]()
    assert json.dumps(axis_choices("format")) == json.dumps(list(FORMATS))
    assert set(listed) - set(FORMATS) == {"package.module:attribute"}
