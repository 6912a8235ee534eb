"""How long the committed runs took: what `artifex-bench list suites` expects of a preset.

`tests/cli/test_catalogue.py` compares every figure with the records in `results/`.
"""

from __future__ import annotations

from artifex_bench.core.suite import Duration

# suite -> preset -> its committed run
DURATIONS = {
    "remat": {"quick": Duration(159, "reference-remat-quick", "2 cores of an AMD EPYC, jax 0.12.0.1")},
    "remat-aot": {
        "quick": Duration(847, "reference-remat-absent", "2 cores of an AMD EPYC, jax 0.12.0.1"),
        "mesh": Duration(430, "reference-remat-mesh", "2 cores of an AMD EPYC, jax 0.12.0.1"),
    },
    "chen": {"quick": Duration(62, "reference-chen", "2 cores of an AMD EPYC, jax 0.12.0.1")},
    "papers": {
        "quick": Duration(73, "reference-papers", "2 cores of an AMD EPYC, jax 0.12.0.1"),
        "timed": Duration(218, "reference-papers-timed", "2 cores of an AMD EPYC, jax 0.12.0.1"),
    },
    "checkpoint": {"quick": Duration(157, "reference-checkpoint-quick", "2 cores of an AMD EPYC, jax 0.12.0.1")},
    "fault": {"quick": Duration(76, "reference-fault-quick", "2 cores of an AMD EPYC, jax 0.12.0.1")},
}
