"""What asv stored of the suites' cases, as the table that `load_run` gives."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core import case as cases
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.convert import convert
from artifex_bench.core.record import Measurement
from artifex_bench.core.store import StoreError, parse_json, read_object
from artifex_bench.integrations.pytest_benchmark_results import Count, Stored, blame_file, table_of, unit_of

ASV_VERSION = 2  # of asv's results files
# what the suites' classes track -> probe; a test holds both to each other
TRACKED = {
    "track_peak_bytes": "compiled_peak_bytes",
    "track_measured_peak_bytes": "measured_peak_bytes",
    "track_residual_bytes": "residual_bytes",
}
TIMED = "time_step"


@dataclass(frozen=True)
class _Machine:
    """What is read of an asv results file's `params`."""

    machine: str


@dataclass(frozen=True)
class _Results:
    """What is read of an asv results file; a row of `results` has its cells in the order of `result_columns`."""

    commit_hash: str
    date: float
    env_name: str
    params: _Machine
    result_columns: tuple[str, ...]
    results: Mapping[str, Sequence[Any]]


def load_asv(
    results_dir: str | Path, machine: str | None = None, commit: str | None = None, environment: str | None = None
) -> pd.DataFrame:
    """asv's results of the suites, as `load_run` gives a run: one row a case, of one commit on one machine.

    `results_dir` is the folder that asv.conf.json names (`.asv/results`), `commit` the start of a hash (the newest
    commit when left out); `machine` and `environment` need a name only where there are several.

    Seconds and bytes, as stored. asv is handed the median step of each process and the three memory columns, and keeps
    the medians only with `asv run --record-samples`: with them the intervals of `step_seconds` and `time_ratio` are a
    bootstrap over processes, without them there are none. `samples`, verdicts, gradients, FLOPs, compile times, and the
    reason of a case that fell (`failed`, or `skipped`) are not known to asv.

    Raises StoreError for a folder or a file that holds no such results, CaseError for a machine, commit or environment
    that is not there or must be named.
    """
    folder = Path(results_dir)
    if not folder.is_dir():
        raise StoreError(f"{folder} is no folder of asv results: `asv run` makes one where asv.conf.json says")
    benchmarks = read_object(folder / "benchmarks.json")
    stored = _chosen(folder, machine, commit, environment)
    with blame_file(folder):
        found = list(_of_asv(stored, benchmarks))
        table = table_of(found, "asv")
    if not found:
        raise StoreError(f"{folder} holds no results of these suites for commit {stored.commit_hash[:8]}")
    return table


def _of_asv(stored: _Results, benchmarks: Mapping[str, Any]) -> Iterator[Stored]:
    """The cases of the suites among the benchmarks of a results file."""
    points: dict[Case, dict[str, dict[str, Any]]] = {}
    for name, row in stored.results.items():
        columns = dict(zip(stored.result_columns, row, strict=False))  # asv leaves empty ones at the end out
        fixed, attribute = _fixed(columns.get("version")), name.rpartition(".")[2]
        if fixed is None or attribute not in (TIMED, *TRACKED):
            continue
        axes = convert(benchmarks[name]["param_names"], tuple[str, ...], "param_names")
        params = convert(columns["params"], tuple[tuple[str, ...], ...], "params")
        for i, point in enumerate(itertools.product(*params)):
            key = dict(zip(axes, map(ast.literal_eval, point), strict=True))  # asv stores a parameter's repr
            points.setdefault(cases.case_from_json({**fixed, **key}), {})[attribute] = {
                column: values[i] if (values := columns.get(column)) else None  # none: nothing of any parameter
                for column in ("result", "samples", "stats_repeat")
            }
    yield from (_of_point(case, at) for case, at in points.items())


def _fixed(version: Any) -> dict[str, Any] | None:
    """The axes that a benchmark's version tells; None where it is not of these suites."""
    with contextlib.suppress(TypeError, ValueError):
        told = parse_json(version)
        return told if isinstance(told, dict) and "kind" in told else None
    return None


def _of_point(case: Case, at: Mapping[str, Mapping[str, Any]]) -> Stored:
    values = {name: found["result"] for name, found in at.items()}
    if None in values.values():
        return Stored(case, status="failed", reason="asv keeps no reason: a crash, out of memory, or out of time")
    numbers = {name: value for name, value in values.items() if value == value}
    if not numbers:
        return Stored(case, status="skipped", reason="asv keeps no reason")
    taken = tuple(
        Measurement(probe, unit_of(probe), (numbers[name],), "asv, which does not say how")
        for name, probe in TRACKED.items()
        if name in numbers
    )
    if TIMED not in numbers:
        return Stored(case, measurements=taken)
    medians = at[TIMED]["samples"] or (numbers[TIMED],)  # a sample is the median step of a process
    rounds = convert(at[TIMED]["stats_repeat"], Count | None, "stats_repeat")
    return Stored(case, (convert(medians, tuple[float, ...], "samples"),), rounds, measurements=taken)


def _chosen(folder: Path, machine: str | None, commit: str | None, environment: str | None) -> _Results:
    """The results file of one commit on one machine in one environment."""
    paths = [path for path in sorted(folder.glob("*/*.json")) if path.name != "machine.json"]
    stored = list(map(_results, paths))
    if not stored:
        raise StoreError(f"{folder} holds no results yet: `asv run` writes them once a commit is through")
    stored = _narrow(stored, "machine", machine, lambda one: one.params.machine)
    hashes = [one.commit_hash for one in sorted(stored, key=lambda one: one.date)]
    whole = hashes[-1] if commit is None else next((name for name in hashes if name.startswith(commit)), commit)
    stored = _narrow(stored, "commit", whole, lambda one: one.commit_hash)
    (found,) = _narrow(stored, "environment", environment, lambda one: one.env_name)
    return found


def _results(path: Path) -> _Results:
    """A results file of asv. Raises StoreError where it is none."""
    told = read_object(path, finite=False)
    try:
        fields = {field.name: told[field.name] for field in dataclasses.fields(_Results)}
        rows = fields.pop("results")
        if told["version"] != ASV_VERSION or not isinstance(rows, dict):
            raise ValueError("it is of another version, or holds no results")
        params = {"machine": fields["params"]["machine"]}
        found: _Results = convert({**fields, "params": params, "results": {}}, _Results)
    except (KeyError, TypeError, ValueError) as error:
        told_by = " ".join(str(error).split())
        raise StoreError(
            f"{path} is no results file of asv in version {ASV_VERSION}, which this reads: {told_by}"
        ) from error
    return dataclasses.replace(found, results=rows)  # which hold NaN where a benchmark was skipped


def _narrow(stored: list[_Results], what: str, wanted: str | None, of: Callable[[_Results], str]) -> list[_Results]:
    valid = sorted({of(one) for one in stored})
    if wanted is None and len(valid) > 1:
        raise CaseError(f"there are results of several {what}s: give {what}=, one of {', '.join(valid)}")
    cases.check_choice(what, wanted or valid[0], valid)
    return [one for one in stored if of(one) == (wanted or valid[0])]
