"""The curve of Chen et al. 2016 (arXiv:1604.06174): peak memory by segment length, lowest near sqrt(depth).

Cases are only compiled. The model is deep and narrow, so that the values kept at the edges of segments weigh as much as
those within a segment.
"""

from __future__ import annotations

from artifex_bench.core.suite import Grids, Suite

LENGTHS = (4, 8, 16, 32, 64)
STRATEGIES = ("none", "all", *(f"segments-{n}" for n in LENGTHS), *(f"nested-{n}" for n in LENGTHS))
DEEP = {"model": "transformer", "depth": 256, "width": 64, "heads": 4, "batch": 32, "sequence": 128}

PRESETS: dict[str, Grids] = {
    "smoke": ({**DEEP, "depth": 16, "batch": 2, "sequence": 16, "strategy": ("none", "nested-4")},),
    "quick": ({**DEEP, "strategy": STRATEGIES},),
}
SETTINGS = {name: {"rounds": 1, "steps": 0} for name in PRESETS}
SUITE = Suite("Peak memory by segment length, which is lowest near sqrt(depth).", PRESETS, SETTINGS, "quick")
