"""The remat suite's preset `asv` as asv's benchmarks: `remat.Transformer` and `remat.Mlp`."""

from __future__ import annotations

from artifex_bench.suites.remat import PRESETS
from suites.views import asv_view

Transformer, Mlp = (asv_view("remat", "asv", grid) for grid in PRESETS["asv"])
