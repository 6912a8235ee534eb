"""What other tools stored of the suites' cases, as the table that `load_run` gives; here pytest-benchmark.

They keep less than a run's records do. What they keep becomes records again, and these a table, so that every figure is
derived in one way; what they do not keep is NaN or None.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from msgspec import Meta

from artifex_bench.core import case as cases
from artifex_bench.core.case import Case
from artifex_bench.core.convert import convert, show_value
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.store import StoreError, read_object
from artifex_bench.core.verdicts import Agreement, Verdict
from artifex_bench.kinds.frames import make_frame
from artifex_bench.kinds.remat_columns import COLUMNS
from artifex_bench.remat.measure.probes import PROBES

Count = Annotated[int, Meta(ge=0, le=10**9)]


@dataclass(frozen=True)
class Stored:
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
    with blame_file(path):
        found = {one.case: one for entry in benchmarks if (one := _of_test(entry))}
        table = table_of(list(found.values()), "pytest-benchmark")
    if not found:
        raise StoreError(f"{path} holds no benchmark of these suites")
    return table


def _of_test(entry: Mapping[str, Any]) -> Stored | None:
    """A benchmark of `suites/bench_remat.py`, which tells its case and figures in `extra_info`; None for any other."""
    told, stats = entry["extra_info"], entry["stats"]
    if "case" not in told:
        return None
    sizes = convert(told["steps_of_processes"], tuple[Count, ...], "steps_of_processes")
    steps = _by_process(stats["data"], sizes) if "data" in stats else ((stats["median"],),)
    once = (column.name for column in COLUMNS if column.name in PROBES and not column.interval)
    figures = (*once, "measured_peak_bytes")
    sources = {"measured_peak_bytes": told.get("measured_peak_source", "")}
    taken = (
        Measurement(name, unit_of(name), (told[name],), sources.get(name, "pytest-benchmark"))
        for name in figures
        if name in told
    )
    return Stored(
        cases.case_from_json(told["case"]),
        steps,
        len(sizes),
        convert(stats["rounds"], Count, "rounds"),
        tuple(taken),
        verdict=_judged(Verdict, name=told["verdict"], reason=told["verdict_reason"]) if "verdict" in told else None,
        agreement=_judged(Agreement, ok=told.get("agrees"), reason=told["agreement_reason"])
        if "agreement_reason" in told
        else None,
    )


def _judged(kind: Any, **fields: Any) -> Any:
    return convert(fields, kind, "extra_info")


def _by_process(seconds: Any, sizes: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """The seconds of all steps, a group for each process."""
    values = convert(seconds, tuple[float, ...], "data")
    if len(values) != sum(sizes):
        raise ValueError(f"{len(values)} steps, and {sum(sizes)} of its processes")
    left = iter(values)
    return tuple(tuple(itertools.islice(left, size)) for size in sizes)


def table_of(stored: Sequence[Stored], source: str) -> pd.DataFrame:
    table = make_frame([record for one in stored for record in one.records(source)])
    for column in ("rounds", "samples"):  # which the records made here do not know
        known = [getattr(one, column) for one in stored]
        table[column] = [math.nan if count is None else count for count in known]
    return table


def unit_of(probe: str) -> str:
    return probe.rpartition("_")[2]


@contextlib.contextmanager
def blame_file(path: Path) -> Iterator[None]:
    """Turn what is missing from a file, or wrong in it, into one line that names it."""
    try:
        yield
    except (AttributeError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged, or of a version that this does not know: {show_value(error)}") from error
