"""Published numbers as tests of this tool: the cases that `python -m validation` compares with the papers.

`quick` has layers of GPT-3 and MT-NLG at their published sizes (Korthikanti et al. 2022, arXiv:2205.05198), compiled
and not run. Each shape has two depths, so that their difference is one layer. It also has a chain of mlp layers (Chen
et al. 2016, arXiv:1604.06174). The suite `chen` does the same with a transformer. `timed` has ratios that are often
quoted as typical.
"""

from __future__ import annotations

from artifex_bench.core.suite import Grids, Suite

SELECTIVE = "save_any_names_but_these:scores+probs"
COUNTED = "save_only_these_names:query+key+value+probs+context+attention_out+mlp_up+mlp_act"
LAYER = {"model": "transformer", "depth": (2, 3), "sequence": 2048, "batch": 1}
GPT_3 = {**LAYER, "width": 12288, "heads": 96}
MT_NLG = {**LAYER, "width": 20480, "heads": 128}
CHAIN = {"model": "mlp", "width": 64, "batch": 8192}
LENGTHS = (2, 4, 8, 16, 32, 64)

PRESETS: dict[str, Grids] = {
    "smoke": (
        {**LAYER, "width": 32, "heads": 4, "sequence": 16, "dtype": "bfloat16", "strategy": ("none", SELECTIVE)},
    ),
    "quick": (
        {**GPT_3, "dtype": "bfloat16", "strategy": ("none", "all", SELECTIVE, COUNTED)},
        {**MT_NLG, "dtype": "bfloat16", "strategy": ("none", SELECTIVE)},
        {**GPT_3, "dtype": "float32", "strategy": ("none", SELECTIVE)},
        {**CHAIN, "depth": 256, "strategy": ("none", "all", *(f"segments-{n}" for n in LENGTHS))},
        {**CHAIN, "depth": (16, 64), "strategy": ("none", "segments-4", "segments-8")},
    ),
    "timed": (
        {
            "model": "mlp",
            "depth": 16,
            "width": 512,
            "batch": 4096,
            "layers": "unroll",
            "strategy": ("none", "all", "every-2"),
        },
        {
            "model": "mlp",
            "depth": 50,
            "width": 1024,
            "batch": 32,
            "layers": "unroll",
            "strategy": ("none", "all", "every-5"),
        },
        {"model": "transformer", "depth": 8, "width": 256, "batch": 8, "strategy": ("none", "all", "every-2")},
    ),
}
SETTINGS = {
    "smoke": {"rounds": 1, "steps": 0},
    "quick": {"rounds": 1, "steps": 0},
    "timed": {"rounds": 3, "steps": 8},
}
SUITE = Suite(
    "Published cases: Korthikanti 2022, Chen 2016, and times that are often quoted.",
    PRESETS,
    SETTINGS,
    "quick",
)
