"""Executors: the built-in ones by name, and the user's own as `module:attribute`."""

from __future__ import annotations

import pytest

from artifex_bench.core.case import CaseError
from artifex_bench.execution.executors import EXECUTORS, load_executor

OWN = """
from artifex_bench.execution.executors import Executor

def run(job, log):
    raise NotImplementedError

cluster = Executor("a cluster", run)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_executors.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_built_in_executors_are_loaded_by_name():
    assert all(load_executor(name) is entry for name, entry in EXECUTORS.items())


def test_an_executor_of_the_users_own(own):
    executor = load_executor("own_executors:cluster")
    assert executor.summary == "a cluster"
    executor.stop()  # by default it stops nothing


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("cloud", "local"),
        ("locl", "local"),
        ("no_such_module:cluster", "no_such_module"),
        (":cluster", "package.module:attribute"),
        ("own_executors:other", "other"),
        ("own_executors:run", "function"),
    ],
)
def test_other_names_are_refused_in_one_line(own, name, named):
    with pytest.raises(CaseError) as refused:
        load_executor(name)
    assert repr(name) in str(refused.value) and named in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
