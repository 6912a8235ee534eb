"""What asv and pytest-benchmark stored of the suites' cases, as the table that `load_run` gives.

Both keep less than a run's records do. What they keep becomes records again, and these a table, so that every figure is
derived in one way; what they do not keep is NaN or None.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench import case as cases
from artifex_bench.case import Case, CaseError
from artifex_bench.record import Agreement, Measurement, Record, Verdict
from artifex_bench.report.frame import frame
from artifex_bench.report.remat import ONCE
from artifex_bench.store import StoreError, parsed, read_object

ASV_VERSION = 2  # of asv's results files, which have
ASV_KEYS = {"commit_hash", "date", "env_name", "params", "result_columns", "results"}
# what the suites' classes track -> probe; a test holds both to each other
TRACKED = {
    "track_peak_bytes": "compiled_peak_bytes",
    "track_measured_peak_bytes": "measured_peak_bytes",
    "track_residual_bytes": "residual_bytes",
}
TIMED = "time_step"


@dataclass(frozen=True)
class _Stored:
    """What a tool kept of a case. `steps` holds groups of seconds: one a process, or one in all where they are not told
    apart; a median may stand for what was not kept. `rounds` and `samples` are None where they are not known.
    """

    case: Case
    steps: tuple[tuple[float, ...], ...] = ()
    rounds: int | None = None
    samples: int | None = None
    measurements: tuple[Measurement, ...] = ()
    status: str = "ok"
    reason: str = ""
    verdict: Verdict | None = None
    agreement: Agreement | None = None

    def records(self, source: str) -> Iterator[Record]:
        """A record a group; the first holds what was taken once."""
        for number, steps in enumerate(self.steps or ((),)):
            timed = (Measurement("step_seconds", "seconds", steps, source),) if steps else ()
            once = self.measurements if number == 0 else ()
            yield Record(self.case, number, self.status, self.reason, (*once, *timed), self.verdict, self.agreement)


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
    with _blamed(folder):
        found = list(_of_asv(stored, benchmarks))
    if not found:
        raise StoreError(f"{folder} holds no results of these suites for commit {stored['commit_hash'][:8]}")
    return _table(found, "asv")


def load_pytest_benchmark(path: str | Path) -> pd.DataFrame:
    """A file of `pytest --benchmark-only --benchmark-json=FILE`, as `load_run` gives a run: one row a case.

    Seconds and bytes, as stored. It has the step with its interval, the three memory columns, FLOPs, verdict and
    agreement; not the first step, nor the forward pass. A file saved without raw data (`--benchmark-autosave`) has
    medians without intervals. A case that fell is not in such a file.

    Raises StoreError when there is no such file, or it holds no benchmark of these suites.
    """
    path = Path(path)
    benchmarks = read_object(path).get("benchmarks")
    if not isinstance(benchmarks, list):
        raise StoreError(f"{path} is no file of pytest-benchmark: it has no list of benchmarks")
    with _blamed(path):
        found = {one.case: one for entry in benchmarks if (one := _of_test(entry))}
    if not found:
        raise StoreError(f"{path} holds no benchmark of these suites")
    return _table(list(found.values()), "pytest-benchmark")


def _table(stored: Sequence[_Stored], source: str) -> pd.DataFrame:
    table = frame([record for one in stored for record in one.records(source)])
    for column in ("rounds", "samples"):  # which the records made here do not know
        known = [getattr(one, column) for one in stored]
        table[column] = [math.nan if count is None else count for count in known]
    return table


def _of_test(entry: Mapping[str, Any]) -> _Stored | None:
    """A benchmark of `suites/bench_remat.py`, which tells its case and figures in `extra_info`; None for any other."""
    told, stats = entry["extra_info"], entry["stats"]
    if "case" not in told:
        return None
    left, sizes = iter(stats.get("data", ())), told["steps_of_processes"]
    steps = tuple(tuple(itertools.islice(left, size)) for size in sizes) if "data" in stats else ((stats["median"],),)
    figures = (*ONCE, "measured_peak_bytes", "other_cpu_share")
    sources = {"measured_peak_bytes": told.get("measured_peak_source", "")}
    taken = (
        Measurement(name, _unit(name), (told[name],), sources.get(name, "pytest-benchmark"))
        for name in figures
        if name in told
    )
    return _Stored(
        cases.from_json(told["case"]),
        steps,
        len(sizes),
        stats["rounds"],
        tuple(taken),
        verdict=Verdict(told["verdict"], told["verdict_reason"]) if "verdict" in told else None,
        agreement=Agreement(told.get("agrees"), told["agreement_reason"]) if "agreement_reason" in told else None,
    )


def _of_asv(stored: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> Iterator[_Stored]:
    """The cases of the suites among the benchmarks of a results file."""
    points: dict[Case, dict[str, dict[str, Any]]] = {}
    for name, row in stored["results"].items():
        columns = dict(zip(stored["result_columns"], row, strict=False))  # asv leaves empty ones at the end out
        fixed, attribute = _fixed(columns.get("version")), name.rpartition(".")[2]
        if fixed is None or attribute not in (TIMED, *TRACKED):
            continue
        axes = benchmarks[name]["param_names"]
        for i, point in enumerate(itertools.product(*columns["params"])):
            key = dict(zip(axes, map(ast.literal_eval, point), strict=True))  # asv stores a parameter's repr
            points.setdefault(cases.from_json({**fixed, **key}), {})[attribute] = {
                column: values[i] if (values := columns.get(column)) else None  # none: nothing of any parameter
                for column in ("result", "samples", "stats_repeat")
            }
    yield from (_of_point(case, at) for case, at in points.items())


def _fixed(version: Any) -> dict[str, Any] | None:
    """The axes that a benchmark's version tells; None where it is not of these suites."""
    with contextlib.suppress(TypeError, ValueError):
        told = parsed(version)
        return told if isinstance(told, dict) and "kind" in told else None
    return None


def _of_point(case: Case, at: Mapping[str, Mapping[str, Any]]) -> _Stored:
    values = {name: found["result"] for name, found in at.items()}
    if None in values.values():
        return _Stored(case, status="failed", reason="asv keeps no reason: a crash, out of memory, or out of time")
    numbers = {name: value for name, value in values.items() if value == value}
    if not numbers:
        return _Stored(case, status="skipped", reason="asv keeps no reason")
    taken = tuple(
        Measurement(probe, _unit(probe), (numbers[name],), "asv, which does not say how")
        for name, probe in TRACKED.items()
        if name in numbers
    )
    if TIMED not in numbers:
        return _Stored(case, measurements=taken)
    medians = at[TIMED]["samples"] or (numbers[TIMED],)  # a sample is the median step of a process
    return _Stored(case, (tuple(medians),), at[TIMED]["stats_repeat"], measurements=taken)


def _unit(probe: str) -> str:
    return probe.rpartition("_")[2]


def _chosen(folder: Path, machine: str | None, commit: str | None, environment: str | None) -> dict[str, Any]:
    """The results file of one commit on one machine in one environment."""
    paths = [path for path in sorted(folder.glob("*/*.json")) if path.name != "machine.json"]
    stored = [read_object(path) for path in paths]
    for path, one in zip(paths, stored, strict=True):
        if one.get("version") != ASV_VERSION or not one.keys() >= ASV_KEYS or "machine" not in one["params"]:
            raise StoreError(f"{path} is no results file of asv in version {ASV_VERSION}, which this reads")
    if not stored:
        raise StoreError(f"{folder} holds no results yet: `asv run` writes them once a commit is through")
    stored = _narrow(stored, "machine", machine, lambda one: one["params"]["machine"])
    hashes = [one["commit_hash"] for one in sorted(stored, key=lambda one: one["date"])]
    whole = hashes[-1] if commit is None else next((name for name in hashes if name.startswith(commit)), commit)
    stored = _narrow(stored, "commit", whole, lambda one: one["commit_hash"])
    (found,) = _narrow(stored, "environment", environment, lambda one: one["env_name"])
    return found


def _narrow(
    stored: list[dict[str, Any]], what: str, wanted: str | None, of: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    valid = sorted({of(one) for one in stored})
    if wanted is None and len(valid) > 1:
        raise CaseError(f"there are results of several {what}s: give {what}=, one of {', '.join(valid)}")
    cases.check_choice(what, wanted or valid[0], valid)
    return [one for one in stored if of(one) == (wanted or valid[0])]


@contextlib.contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn what is missing from a file, or wrong in it, into one line that names it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, SyntaxError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged, or of a version that this does not know: {error!r}") from error
