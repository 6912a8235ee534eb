"""Pages of fabricated runs: written for the tests, and the time that one of many cases takes to load.

python -m tests.report.fabricated --cases 1000 --loads 5
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from artifex_bench.advice import advise
from artifex_bench.advice.by_budget import rank_for_memory
from artifex_bench.advice.words import AdviceText, describe_advice, describe_ranking
from artifex_bench.core.record import Record
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.html import page
from tests.browser import opened
from tests.build import case, measured, record

READY = "!!document.documentElement?.dataset.readyAfter"
STRATEGIES = (
    "none",
    "all",
    *(f"{kind}-{n}" for kind in ("every", "segments", "nested") for n in (2, 4, 8, 16, 32, 64)),
)
ENVIRONMENT = {"device": "fabricated", "versions": {"jax": "0.0"}, "memory_bytes": 2**34, "load": 0.5}


def run(cases: int) -> list[Record]:
    """That many cases: the strategies over one shape after another, each with times and a peak of its own."""
    chance = random.Random(0)
    shapes = [(depth, batch) for batch in range(1, cases + 1) for depth in (2, 4, 8, 16, 32)]
    points = itertools.islice(((shape, strategy) for shape in shapes for strategy in STRATEGIES), cases)
    return [job(strategy, depth, batch, chance) for (depth, batch), strategy in points]


def job(strategy: str, depth: int, batch: int, chance: random.Random) -> Record:
    share = 1.0 if strategy == "none" else chance.uniform(0.2, 1)  # of memory; what is saved costs time
    steps = [depth * batch * 1e-3 * (1.4 - 0.4 * share) * chance.uniform(0.9, 1.1) for _ in range(3)]
    return record(
        case(strategy, depth=depth, batch=batch),
        measurements=measured(steps, peak=2**20 * depth * batch * share),
        verdict=None if strategy == "none" else Verdict("effective", "fabricated"),
        environment=ENVIRONMENT,
        started_at="2026-01-02T03:04:05",
    )


def written(records: Sequence[Record], path: Path, advice: Sequence[AdviceText] | None = None) -> Path:
    """The page of these records, of a run called "fabricated"."""
    frame = make_frame(records)
    if advice is None:
        advice = [describe_advice(one) for one in advise(frame, time_budget=1.1)]
    rankings = [describe_ranking(one) for one in rank_for_memory(frame)] if "strategy" in frame else []
    return page.write_page(records, advice, "fabricated", path, rankings=rankings, frame=frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--loads", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = run(asked.cases)
        begin = time.perf_counter()
        path = written(records, Path(folder) / "page.html")
        made = time.perf_counter() - begin
        took = []
        for _ in range(asked.loads):
            with opened() as browser:  # a fresh one: nothing compiled is kept
                browser.size(1300, 900)
                browser.load(path, READY)
                took.append(int(browser.evaluate("document.documentElement.dataset.readyAfter")))
        told = f"{asked.cases} cases, {path.stat().st_size / 2**20:.1f} MiB: ready after {min(took)} ms at best"
        print(f"made in {made:.0f} s ({time.process_time():.0f} s of this process)")
        print(f"{told}, {statistics.median(took):.0f} ms in the middle of {took}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
