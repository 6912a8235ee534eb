"""Suites as asv and pytest-benchmark see them: one sweep measures every case in fresh processes; they get its figures.

Both time a function themselves: pytest-benchmark all parameters in one process, asv each in one fork, all samples of
a parameter at one time. What is timed here is a clock that stands still but for the seconds that were measured, over
interleaved rounds: so they store those, with their own statistics on them. asv, which tests for a difference as if
samples were independent, is given one sample a process: the median of its steps.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping
from typing import Any

from artifex_bench.core import case as cases
from artifex_bench.core.case import RematCase
from artifex_bench.core.grid import as_list
from artifex_bench.remat import strategies

AXES = ("strategy", "depth", "batch")  # the parameters, in the order in which asv shows them
Key = tuple[Any, ...]
Row = dict[str, Any]


class Clock:
    """A timer that stands still but for what it is told has passed."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        """The seconds told so far."""
        return self._now

    def pass_by(self, seconds: float) -> None:
        """Go on by that much."""
        self._now += seconds


def asv_view(suite: str, preset: str, grid: Mapping[str, Any]) -> type:
    """A class of asv benchmarks over the strategies, depths and batches of one grid of a suite's preset, with the name
    of the model.
    """

    class View:
        version = fixed(grid)  # asv holds results of differing versions apart
        params = tuple(as_list(axis, grid[axis]) for axis in AXES)
        param_names = AXES
        timeout = 1800
        number, rounds, warmup_time, min_run_count = 1, 1, 0, 1
        timer = Clock()

        def setup_cache(self) -> dict[str, dict[Key, Row]]:
            return measured(suite, preset)

        def setup(self, cache: dict[str, dict[Key, Row]], *key: Any) -> None:
            found = cache[grid["model"]].get(key)
            if found is None:
                raise NotImplementedError("it did not end well: `artifex-bench run` shows why")
            self.row = found
            medians = [statistics.median(steps) for steps in found["step_seconds"]]
            self.repeat = len(medians)
            if getattr(self, "key", None) != key:  # asv sets up again before every sample
                self.key, self.steps = key, itertools.cycle(medians)

        def time_step(self, cache: Any, *key: Any) -> None:
            self.timer.pass_by(next(self.steps))

        def track_peak_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["compiled_peak_bytes"]

        def track_measured_peak_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["measured_peak_bytes"]

        def track_residual_bytes(self, cache: Any, *key: Any) -> float:
            return self.row["residual_bytes"]

    View.__name__ = View.__qualname__ = grid["model"].capitalize()  # what asv calls it
    View.setup_cache.timeout = 3600  # type: ignore[attr-defined]
    for name in vars(View):
        if name.startswith("track_"):
            getattr(View, name).unit = name.rpartition("_")[2]  # bytes
    return View


def fixed(grid: Mapping[str, Any]) -> str:
    """The axes of a grid's cases that asv's parameters do not tell, as JSON."""
    case = strategies.fit(RematCase(**{axis: value for axis, value in grid.items() if axis not in AXES}))
    return json.dumps({axis: value for axis, value in cases.case_to_json(case).items() if axis not in AXES})


def measured(suite: str, preset: str) -> dict[str, dict[Key, Row]]:
    """{model: {(strategy, depth, batch): figures}} of the cases that ended well, measured now; `step_seconds` are in
    one list a process, without those that were contended where enough others are left.
    """
    from artifex_bench.core.results import drop_contended_times, group_by_case, values_by_round
    from artifex_bench.core.run_spec import RunSpec
    from artifex_bench.integrations import benchmark
    from artifex_bench.kinds.frames import make_frame
    from artifex_bench.sweep import spec

    cases_asked = spec.expand_preset(suite, preset, {})
    settings = spec.find_suite(suite)[1].settings[preset]
    records = drop_contended_times(benchmark.measure_run(RunSpec(suite, cases_asked, **settings)))
    found: dict[str, dict[Key, Row]] = {}
    for (case, rounds), row in zip(group_by_case(records).items(), make_frame(records).to_dict("records"), strict=True):
        if row["status"] == "ok":
            figures = {str(name): value for name, value in row.items()}
            figures |= {"case": cases.case_to_json(case), "step_seconds": values_by_round(rounds, "step_seconds")}
            found.setdefault(row["model"], {})[tuple(row[axis] for axis in AXES)] = figures
    return found
