"""The remat-aot suite: peak memory and estimated step time on TPUs and GPUs, compiled ahead of time.

It needs the compilers that `make aot` installs. The model has 1.2 billion parameters. A v5e cannot train it with
strategy none.
"""

from __future__ import annotations

from artifex_bench.core.suite import Grids, Suite
from artifex_bench.suites.remat import CORE

TARGETS = ("gpu:h100", "tpu:v5e", "tpu:v5p")
LARGE = {
    "model": "transformer",
    "depth": 24,
    "width": 2048,
    "heads": 16,
    "batch": 4,
    "sequence": 1024,
    "dtype": "bfloat16",
    "target": TARGETS,
}
ENDS = ("none", "all")
SMALL = {"model": "mlp", "depth": 4, "width": 256, "batch": 1024, "dtype": "bfloat16"}

PRESETS: dict[str, Grids] = {
    "smoke": ({**SMALL, "strategy": ENDS, "target": ("gpu:h100", "tpu:v5e")},),
    "quick": ({**LARGE, "strategy": (*CORE, "segments-sqrt", "offload_dot_with_no_batch_dims")},),
    "mesh": (
        {**LARGE, "strategy": ENDS, "batch": 8, "target": "tpu:v5e"},
        {**LARGE, "strategy": ENDS, "batch": 8, "target": "tpu:v5e:2x4", "mesh": ("data=4,fsdp=2", "fsdp=8")},
    ),
}
SETTINGS = {name: {"rounds": 1, "steps": 0, "timeout": 1800.0} for name in PRESETS}
SUITE = Suite(
    "Peak memory and estimated step time on TPUs and GPUs, compiled ahead of time.",
    PRESETS,
    SETTINGS,
    "quick",
)
