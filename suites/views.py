"""The suites as asv and pytest-benchmark see them. One sweep measures every case in fresh processes.

Both tools time a function themselves: pytest-benchmark runs all parameters in one process, and asv takes all samples of
a parameter at one time. Here they time a clock that advances by the measured seconds only, so that they store seconds
of interleaved rounds, with their own statistics. asv's test for a difference assumes independent samples, so asv gets
one sample per process: the median of its steps.

The records of the sweep are kept beside asv's results and in pytest-benchmark's files.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artifex_bench import models
from artifex_bench.core import case as cases
from artifex_bench.core.case import RematCase
from artifex_bench.core.grid import as_list
from artifex_bench.core.record import Record

AXES = ("strategy", "depth", "batch")  # the parameters, in the order in which asv shows them
Key = tuple[Any, ...]
Row = dict[str, Any]


class Clock:
    """A timer that advances only by `advance`."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Add seconds to the time."""
        self._now += seconds


def make_asv_view(suite: str, preset: str, grid: Mapping[str, Any], config: Path) -> type:
    """Return a class of asv benchmarks, named after its model, over the strategies, depths and batches of a grid.

    The records of the whole preset are kept in the results folder that asv's configuration file names.
    """

    class View:
        version = fixed_axes(grid)  # asv does not compare results of different versions
        params = tuple(as_list(axis, grid[axis]) for axis in AXES)
        param_names = AXES
        timeout = 1800
        number, rounds, warmup_time, min_run_count = 1, 1, 0, 1
        timer = Clock()

        def setup_cache(self) -> dict[str, dict[Key, Row]]:
            from artifex_bench.core import store
            from artifex_bench.integrations.asv_results import locate_asv_records

            kept = locate_asv_records(config, Path(__file__).parent)
            records = measure_preset(suite, preset)
            store.write_records(kept, records)
            return make_figures(records)

        def setup(self, cache: dict[str, dict[Key, Row]], *key: Any) -> None:
            row = cache.get(grid["model"], {}).get(key)
            if row is None:
                raise NotImplementedError("the case did not complete; `load_asv` gives its status and reason")
            self.row = row
            medians = [statistics.median(steps) for steps in row["step_seconds"]]
            self.repeat = len(medians)
            if getattr(self, "key", None) != key:  # asv sets up again before every sample
                self.key, self.steps = key, itertools.cycle(medians)

        def time_step(self, cache: Any, *key: Any) -> None:
            self.timer.advance(next(self.steps))

        def track_peak_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["compiled_peak_bytes"]

        def track_measured_peak_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["measured_peak_bytes"]

        def track_residual_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["residual_bytes"]

    View.__name__ = View.__qualname__ = grid["model"].capitalize()  # the name that asv shows
    View.setup_cache.timeout = 3600  # type: ignore[attr-defined]
    for name in vars(View):
        if name.startswith("track_"):
            getattr(View, name).unit = name.rpartition("_")[2]  # bytes
    return View


def fixed_axes(grid: Mapping[str, Any]) -> str:
    """Return the axes of a grid's cases that are not asv's parameters, as JSON."""
    case = models.drop_unused_axes(RematCase(**{axis: value for axis, value in grid.items() if axis not in AXES}))
    return json.dumps({axis: value for axis, value in cases.case_to_json(case).items() if axis not in AXES})


def measure_preset(suite: str, preset: str) -> list[Record]:
    """Measure the cases of a preset, as `artifex-bench run` does."""
    from artifex_bench.core.run_spec import RunSpec
    from artifex_bench.integrations import benchmark
    from artifex_bench.sweep import spec

    settings = spec.find_suite(suite)[1].settings[preset]
    return benchmark.measure_run(RunSpec(suite, spec.expand_preset(suite, preset, {}), **settings))


def make_figures(records: Sequence[Record]) -> dict[str, dict[Key, Row]]:
    """Return {model: {(strategy, depth, batch): columns}} of the cases that completed.

    `step_seconds` holds one group per process, without contended processes if enough others are left.
    """
    from artifex_bench.core.results import drop_contended_times, group_by_case, values_by_round
    from artifex_bench.kinds.frames import make_frame

    records = drop_contended_times(records)
    figures: dict[str, dict[Key, Row]] = {}
    for rounds, row in zip(group_by_case(records).values(), make_frame(records).to_dict("records"), strict=True):
        if row["status"] == "ok":
            columns = {str(name): value for name, value in row.items()}
            columns["step_seconds"] = values_by_round(rounds, "step_seconds")
            figures.setdefault(row["model"], {})[tuple(row[axis] for axis in AXES)] = columns
    return figures
