"""The remat suite: step time against peak memory over strategies, depth, width and batch."""

from __future__ import annotations

from typing import Any

from artifex_bench.core.suite import Grids, Suite

# These span the trade-off: no rematerialization, all layers, half of them, a part of each, matrix products saved.
CORE = ("none", "all", "every-2", "attention-only", "dots_with_no_batch_dims_saveable")
POLICIES = ("dots_saveable", "nothing_saveable", "everything_saveable")
NAMES = ("save_only_these_names:query+key+value", "save_any_names_but_these:scores+probs")
LAYERWISE = ("none", "all", "every-2", "segments-sqrt")

# A transformer of 1.2 billion parameters. The memory of the device decides its batch, and on a small one its depth.
BILLION = {
    "model": "transformer",
    "strategy": CORE,
    "depth": 24,
    "width": 2048,
    "heads": 16,
    "sequence": 1024,
    "dtype": "bfloat16",
}

PRESETS: dict[str, Grids] = {
    "smoke": (
        {"model": "transformer", "strategy": ("none", "all"), "depth": 2, "width": 32, "batch": 4, "sequence": 16},
    ),
    "quick": (
        {"model": "transformer", "strategy": CORE, "depth": (4, 8), "width": 128, "batch": (2, 4), "sequence": 64},
        {"model": "mlp", "strategy": ("none", "all", "segments-sqrt"), "depth": 16, "width": 256, "batch": 512},
    ),
    "asv": (
        {
            "model": "transformer",
            "strategy": ("none", "all", "dots_with_no_batch_dims_saveable"),
            "depth": 4,
            "width": 128,
            "batch": 4,
            "sequence": 64,
        },
        {"model": "mlp", "strategy": ("none", "all"), "depth": 8, "width": 256, "batch": 512},
    ),
    "gpu": (BILLION,),
    "tpu": (BILLION,),
    "full": (
        {
            "model": "transformer",
            "strategy": (*CORE, "mlp-only", "segments-sqrt", "nested-sqrt", *POLICIES, *NAMES),
            "depth": (4, 8, 16),
            "width": (128, 256),
            "batch": (4, 8, 16),
            "layers": ("scan", "unroll"),
        },
        {"model": "transformer", "strategy": CORE, "depth": 8, "width": 256, "sequence": (64, 128, 256)},
        {"model": "transformer", "strategy": CORE, "depth": 8, "width": 256, "dtype": ("float32", "bfloat16")},
        {
            "model": ("mlp", "vae"),
            "strategy": (*LAYERWISE, *POLICIES),
            "depth": (8, 32),
            "width": (256, 512),
            "batch": (1024, 4096),
            "layers": ("scan", "unroll"),
        },
    ),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"rounds": 1, "steps": 3},
    "quick": {"rounds": 3, "steps": 15},
    "asv": {"rounds": 30, "steps": 5},
    "gpu": {"rounds": 3, "steps": 10, "timeout": 1800.0},
    "tpu": {"rounds": 3, "steps": 10, "timeout": 1800.0},
    "full": {"rounds": 5, "steps": 20},
}
SUITE = Suite(
    "Step time against peak memory over strategies, depth, width and batch.",
    PRESETS,
    SETTINGS,
    "quick",
    {"gpu": "gpu", "tpu": "tpu"},
)
