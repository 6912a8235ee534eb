"""The checkpoint suite: how long a save blocks training, when it is on disk, and how long a restore takes."""

from __future__ import annotations

from typing import Any

from artifex_bench.core.suite import Grids, Suite

MIB = 2**20
OURS = ("auto", "ocdbt", "zarr3", "zarr2-zstd")
PEERS = ("safetensors", "npz", "pickle", "msgpack", "torch", "torch-dcp")

PRESETS: dict[str, Grids] = {
    "smoke": ({"format": ("auto", "orbax", "npz"), "size": MIB, "arrays": 4},),
    "quick": (
        {"format": (*OURS, "orbax", "orbax-v1", *PEERS), "size": 64 * MIB, "arrays": 16},
        {"format": ("auto", "orbax", "orbax-v1"), "mode": "async", "size": 64 * MIB, "arrays": 16},
        {"format": ("auto", "zarr2", "orbax"), "size": 64 * MIB, "arrays": 256},
        {"format": "auto", "size": (16 * MIB, 64 * MIB, 256 * MIB), "arrays": 16},
        {"format": "auto", "size": 64 * MIB, "arrays": 16, "devices": (2, 8)},
        {"format": "auto", "size": 64 * MIB, "arrays": 16, "devices": 8, "restore": "reshard"},
        {"format": "auto", "size": 64 * MIB, "arrays": 16, "restore": "partial"},
        {"format": ("auto", "orbax"), "size": 64 * MIB, "arrays": 16, "cache": "cold"},
    ),
    "full": (
        {
            "format": (*OURS, "zarr2", "zarr3-zstd", "ocdbt-zstd", "ocdbt-zarr3", "orbax", "orbax-v1", *PEERS),
            "size": (64 * MIB, 512 * MIB),
            "arrays": 16,
            "dtype": ("float32", "bfloat16"),
            "cache": ("warm", "cold"),
        },
        {"format": (*OURS, "orbax", "orbax-v1"), "mode": "async", "size": (64 * MIB, 512 * MIB), "arrays": 16},
        {"format": (*OURS, "orbax"), "size": 512 * MIB, "arrays": (4, 64, 1000, 4000)},
        {"format": (*OURS, "orbax"), "size": 256 * MIB, "content": ("random", "trained", "zeros")},
        {"format": ("auto", "orbax"), "size": 128 * MIB, "optimizer_state": (False, True)},
        {"format": ("auto", "ocdbt", "orbax"), "size": 512 * MIB, "devices": (1, 2, 8), "mode": ("sync", "async")},
        {"format": ("auto", "orbax"), "size": 512 * MIB, "devices": (2, 8), "restore": "reshard"},
        {"format": ("auto", "ocdbt"), "size": 512 * MIB, "restore": "partial", "cache": ("warm", "cold")},
        {"format": ("ocdbt", "zarr3"), "size": 512 * MIB, "arrays": 4, "chunk": (MIB, 16 * MIB)},
    ),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"rounds": 1, "steps": 2},
    "quick": {"rounds": 1, "steps": 5},
    "full": {"rounds": 3, "steps": 5},
}
SUITE = Suite(
    "How long a save blocks training, when it is on disk, and how long a restore takes.", PRESETS, SETTINGS, "quick"
)
