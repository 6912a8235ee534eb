"""The remat-aot suite: what fits on TPUs and GPUs that need not be here, by their own compilers, and an estimated step.

Compile only; needs what `make aot` installs. A model of 1.2 billion parameters, which strategy none cannot train on a
v5e.
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
    "What fits on TPUs and GPUs that need not be here, by their own compilers, and an estimated step.",
    PRESETS,
    SETTINGS,
    "quick",
)
