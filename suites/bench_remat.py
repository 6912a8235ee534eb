"""The remat suite as pytest-benchmark sees it: `pytest --benchmark-only`. Every case is measured once per session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from artifex_bench.core.grid import as_list
from artifex_bench.core.units import is_present
from artifex_bench.suites.remat import PRESETS
from suites.views import AXES, Clock, Key, Row

CLOCK = Clock()
# columns that pytest-benchmark shows; the records in its file have all
SHOWN = ("case", "compiled_peak_bytes", "measured_peak_bytes", "residual_bytes", "recomputed_flops", "verdict")


def make_parameters() -> Iterator[Any]:
    """Yield (model, (strategy, depth, batch)) of every case, with an id that `-k` can select."""
    for grid in PRESETS["asv"]:
        for key in itertools.product(*(as_list(axis, grid[axis]) for axis in AXES)):
            yield pytest.param(grid["model"], key, id="-".join(map(str, (grid["model"], *key))))


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize(("model", "key"), list(make_parameters()))
def test_step(benchmark: Any, figures: dict[str, dict[Key, Row]], model: str, key: Key) -> None:
    row = figures.get(model, {}).get(key)
    if row is None:
        pytest.skip("the case did not complete; `load_pytest_benchmark` gives its status and reason")
    benchmark.group = ", ".join([model, *(f"{axis} {value}" for axis, value in zip(AXES[1:], key[1:], strict=True))])
    benchmark.extra_info.update({name: row[name] for name in SHOWN if is_present(row[name])})
    steps = list(itertools.chain.from_iterable(row["step_seconds"]))
    passing = iter(steps)
    benchmark.pedantic(lambda: CLOCK.advance(next(passing)), rounds=len(steps), iterations=1)
