"""The remat suite as pytest-benchmark sees it: `pytest --benchmark-only`. Every case is measured once a session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from artifex_bench.core.grid import as_list
from artifex_bench.core.units import is_present
from artifex_bench.suites.remat import PRESETS
from suites.views import AXES, Clock, Key, Row, measured

CLOCK = Clock()
TOLD = (
    *("case", "verdict", "verdict_reason", "agrees", "agreement_reason", "other_cpu_share"),
    *("compiled_peak_bytes", "measured_peak_bytes", "measured_peak_source", "residual_bytes", "recomputed_flops"),
    *(
        "parameter_bytes",
        "optimizer_bytes",
        "gradient_flops",
        "compiled_flops",
        "trace_seconds",
        "compile_seconds",
        "time_ratio",
    ),
)


def points() -> Iterator[Any]:
    """(model, (strategy, depth, batch)) of every case, named so that -k finds them."""
    for grid in PRESETS["asv"]:
        for key in itertools.product(*(as_list(axis, grid[axis]) for axis in AXES)):
            yield pytest.param(grid["model"], key, id="-".join(map(str, (grid["model"], *key))))


@pytest.fixture(scope="session")
def figures() -> dict[str, dict[Key, Row]]:
    return measured("remat", "asv")


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize(("model", "key"), list(points()))
def test_step(benchmark: Any, figures: dict[str, dict[Key, Row]], model: str, key: Key) -> None:
    row = figures[model].get(key)
    if row is None:
        pytest.skip("it did not end well: `artifex-bench run` shows why")
    benchmark.group = ", ".join([model, *(f"{axis} {value}" for axis, value in zip(AXES[1:], key[1:], strict=True))])
    benchmark.extra_info.update({name: row[name] for name in TOLD if is_present(row[name])})
    benchmark.extra_info["steps_of_processes"] = list(map(len, row["step_seconds"]))
    steps = list(itertools.chain.from_iterable(row["step_seconds"]))
    passing = iter(steps)
    benchmark.pedantic(lambda: CLOCK.pass_by(next(passing)), rounds=len(steps), iterations=1)
