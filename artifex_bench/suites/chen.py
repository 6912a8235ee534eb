"""The curve of Chen et al. 2016 (arXiv:1604.06174): memory over the length of a segment, least at sqrt(depth).

Compile only. A deep, narrow model: what is kept at each segment's edge weighs against what a segment holds.
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
SUITE = Suite("Memory over the length of a segment, least at sqrt(depth).", PRESETS, SETTINGS, "quick")
