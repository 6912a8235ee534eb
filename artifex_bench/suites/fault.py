"""The fault suite: what restores of damaged files return, per format: an error, or intact or wrong arrays."""

from __future__ import annotations

from typing import Any

from artifex_bench.core.suite import Grids, Suite

FORMATS = (
    "auto",
    "ocdbt",
    "zarr3",
    "orbax",
    "orbax-v1",
    "safetensors",
    "npz",
    "pickle",
    "msgpack",
    "torch",
    "torch-dcp",
)
FAULTS = ("flip_bit", "zero_block", "truncate", "delete")

PRESETS: dict[str, Grids] = {
    "smoke": ({"format": ("auto", "npz", "pickle"), "fault": "flip_bit", "trials": 5, "size": 65536, "arrays": 2},),
    "quick": ({"format": FORMATS, "fault": FAULTS, "trials": 60},),
    "full": ({"format": FORMATS, "fault": FAULTS, "dtype": ("float32", "bfloat16"), "trials": 300},),
}
SETTINGS: dict[str, dict[str, Any]] = {name: {"rounds": 1} for name in PRESETS}
SUITE = Suite(
    "What restores of damaged files return, per format: an error, or intact or wrong arrays.",
    PRESETS,
    SETTINGS,
    "quick",
)
