"""One run of asv that the tests of its results and of its site share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integrations.fabricated import PATCH, ROOT, call


class Project(NamedTuple):
    """A git project with our suites, where `asv run` has measured the commit."""

    folder: Path
    commit: str
    asv: Callable[..., str]  # calls asv there, and returns its output


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What `asv run --quick` and `asv publish` leave of a fabricated sweep, in the existing environment."""
    folder = tmp_path_factory.mktemp("asv") / "project"
    for part in ("artifex_bench", "suites"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "asv.conf.json", folder)
    with (folder / "suites" / "views.py").open("a") as views:
        views.write(PATCH)

    def git(*words: str) -> str:
        identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false")
        return call(folder, "git", *identity, *words)

    def asv(*words: str) -> str:
        return call(folder, "python", "-m", "asv", *words)

    git("init", "--quiet", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--quiet", "--message", "benchmarks")
    commit = git("rev-parse", "HEAD").strip()
    asv("machine", "--yes", "--machine", "here")
    asv("run", "--quick", "--machine", "here", "--python=same", "--set-commit-hash", commit)
    asv("publish")
    return Project(folder, commit, asv)
