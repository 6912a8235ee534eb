"""Records beside asv's results: where they are kept while asv measures, and `load_asv`, which reads them back."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from artifex_bench.core.case import CaseError, check_choice
from artifex_bench.core.convert import show_value
from artifex_bench.core.store import StoreError, read_object
from artifex_bench.report.frame import load_run

FOLDER = "artifex-bench"  # in asv's results folder. asv reads files that end in .json only, and warns of foreign ones.


class AsvRecords(NamedTuple):
    """A file of records, and what its path says of them."""

    path: Path
    commit: str
    environment: str
    machine: str
    commit_time: int


def locate_asv_records(config: Path, repository: Path) -> Path:
    """Return the file for the records of what asv is measuring.

    It is ``RESULTS/artifex-bench/TIME-COMMIT/ENVIRONMENT/HOST.jsonl``, where RESULTS is asv's `results_dir` and TIME is
    that of the commit, in seconds since 1970. asv does not give a benchmark its own name of the machine (`--machine`).
    In an existing environment (`--python=same`) it gives neither commit nor environment. They are then the commit that
    is checked out, and ``existing``.

    Args:
        config: asv's configuration file.
        repository: A folder of the git repository that is measured.

    Raises:
        StoreError: The configuration cannot be read or has no valid `results_dir`, or git does not know the commit.
    """
    results = read_object(config).get("results_dir", "results")
    if not isinstance(results, str):
        raise StoreError(f"cannot read {config}: results_dir {show_value(results)}: must be text")
    commit = _describe_commit(repository, os.environ.get("ASV_COMMIT", "HEAD"))
    return (
        config.parent
        / results
        / FOLDER
        / commit
        / os.environ.get("ASV_ENV_NAME", "existing")
        / f"{platform.node()}.jsonl"
    )


def _describe_commit(repository: Path, name: str) -> str:
    """Return ``TIME-COMMIT`` of a commit, by any of its names. Raises StoreError if git does not know it."""
    command = ["git", "log", "-1", "--format=%ct-%H", "--end-of-options", name, "--"]
    try:
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        words = error.strerror if isinstance(error, OSError) else error.stderr
        raise StoreError(f"git finds no commit {name!r} in {repository}: {' '.join((words or '').split())}") from error


def load_asv(
    results_dir: str | Path, machine: str | None = None, commit: str | None = None, environment: str | None = None
) -> pd.DataFrame:
    """Return what asv measured of one commit, as `load_run` returns a run: one row per case.

    Args:
        results_dir: The folder that asv.conf.json names, for example ``.asv/results``.
        machine: Host name, needed if several machines measured the commit.
        commit: The beginning of the commit's hash. By default the newest commit.
        environment: asv's name of the environment, or ``existing``. Needed if the commit was measured in several.

    Raises:
        StoreError: The folder holds no records, or damaged ones.
        CaseError: The commit, environment or machine is unknown or no text, or there are several to choose from.
    """
    for name, value in (("machine", machine), ("commit", commit), ("environment", environment)):
        if not isinstance(value, str | None):
            raise CaseError(f"{name} {show_value(value)}: must be text")
    folder = Path(results_dir, FOLDER)
    kept = [_parse_path(path) for path in folder.glob("*-*/*/*.jsonl")]
    if not kept:
        raise StoreError(f"{folder} holds no records: measure the commit with `asv run` of version 0.2 or later")
    newest = max(kept, key=lambda records: records.commit_time).commit
    kept = _select(kept, "commit", _complete_commit(kept, commit) if commit else newest)
    kept = _select(kept, "environment", environment)
    (chosen,) = _select(kept, "machine", machine)
    return load_run(chosen.path)


def _complete_commit(kept: Sequence[AsvRecords], commit: str) -> str:
    """Return the measured commit whose hash begins so; the text itself if there is none."""
    matching = sorted({records.commit for records in kept if records.commit.startswith(commit)})
    if len(matching) > 1 and commit not in matching:
        raise CaseError(f"commit {commit!r} is ambiguous: give more of its hash: {', '.join(matching)}")
    return commit if commit in matching or not matching else matching[0]


def _parse_path(path: Path) -> AsvRecords:
    *_, commit, environment, _ = path.parts
    time, _, digest = commit.partition("-")
    return AsvRecords(path, digest, environment, path.stem, int(time) if time.isdecimal() else 0)


def _select(kept: Sequence[AsvRecords], field: str, value: str | None) -> list[AsvRecords]:
    """Return the files with that value of a field. Without a value, all of them must have the same."""
    valid = sorted({getattr(records, field) for records in kept})
    if value is None and len(valid) > 1:
        raise CaseError(f"there are results of several {field}s: give {field}=, one of {', '.join(valid)}")
    check_choice(field, value or valid[0], valid)
    return [records for records in kept if getattr(records, field) == (value or valid[0])]
