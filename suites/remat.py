"""The remat suite's preset `asv` as asv's benchmarks: `remat.Transformer` and `remat.Mlp`."""

from __future__ import annotations

from pathlib import Path

from artifex_bench.suites.remat import PRESETS
from suites.views import make_asv_view

CONFIG = Path(__file__).parents[1] / "asv.conf.json"
Transformer, Mlp = (make_asv_view("remat", "asv", grid, CONFIG) for grid in PRESETS["asv"])
