"""CLAIMS: what was published -> where, how close ours must come, how it is told, and what finds it in a run's table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from artifex_bench.report import tables, text
from artifex_bench.report.papers import chen, korthikanti, typical
from artifex_bench.report.papers.found import Found

SUITES = ("papers", "chen")  # the suites whose runs are held against the papers
HEADINGS = ("claim", "source", "shape", "published", "ours", "verdict", "why")
KORTHIKANTI, CHEN = "Korthikanti 2022, arXiv:2205.05198", "Chen 2016, arXiv:1604.06174"
QUOTED = "Artifex's guide to checkpointing, benchmark_checkpointing"
NOTHING = 1e-9  # of a number that is published as zero


@dataclass(frozen=True)
class Claim:
    """`tolerance` is relative: rounding for exact claims, what the paper rounds to or leaves out for others."""

    text: str
    source: str
    tolerance: float
    form: str
    find: Callable[[pd.DataFrame], Iterator[Found]]

    def verdict(self, found: Found) -> str:
        """``agrees`` or ``differs``."""
        close = math.isclose(found.ours, found.published, rel_tol=self.tolerance, abs_tol=NOTHING)
        return "agrees" if close else "differs"


EXACT, COUNTED, MEASURED = 1e-9, 0.02, 0.1
BYTES, SHARE, RATIO = "{:.4g} s b h", "{:.1%}", "{:.2f}x"
CLAIMS = (
    Claim(
        "a layer keeps s b h (34 + 5 a s/h) bytes in 16 bit",
        f"{KORTHIKANTI}, eq. 1",
        COUNTED,
        BYTES,
        korthikanti.coefficients,
    ),
    Claim(
        "those of its tensors that ours has, norms' outputs apart: 28 + 2 a s/h in 16 bit",
        f"{KORTHIKANTI}, section 4.1",
        EXACT,
        BYTES,
        korthikanti.counted,
    ),
    Claim(
        "selective recomputation leaves 34 s b h in 16 bit",
        f"{KORTHIKANTI}, eq. 6",
        COUNTED,
        BYTES,
        korthikanti.selective,
    ),
    Claim(
        "selective recomputation leaves nothing that grows with s^2",
        f"{KORTHIKANTI}, eq. 6",
        EXACT,
        "{:.4g} a s^2 b",
        korthikanti.quadratic,
    ),
    Claim(
        "selective recomputation saves the share of 5 a s/h (GPT-3 70 %, MT-NLG 65 %)",
        f"{KORTHIKANTI}, section 5",
        COUNTED,
        SHARE,
        korthikanti.saved,
    ),
    Claim("full recomputation leaves 2 s b h in 16 bit", f"{KORTHIKANTI}, table 2", EXACT, BYTES, korthikanti.full),
    Claim(
        "forward and backward pass of a layer: 72 b s h^2 (1 + s/6h) FLOPs",
        f"{KORTHIKANTI}, eq. 7",
        COUNTED,
        "{:.4g} b s h^2",
        korthikanti.model_flops,
    ),
    Claim(
        "selective recomputation adds s/6h to the FLOPs (GPT-3 2.7 %, MT-NLG 1.6 %)",
        f"{KORTHIKANTI}, section 5, eq. 9",
        MEASURED,
        "{:.2%}",
        korthikanti.selective_flops,
    ),
    Claim(
        "recomputing each layer is one more forward pass",
        f"{CHEN}, section 4.3",
        MEASURED,
        SHARE,
        korthikanti.full_flops,
    ),
    Claim("n layers in segments need one more forward pass", f"{CHEN}, section 4.3", MEASURED, SHARE, chen.forward),
    Claim("memory is least with segments of sqrt(n) layers", f"{CHEN}, section 4.3", EXACT, "{:g}", chen.shortest),
    Claim("the least memory grows as n^0.5", f"{CHEN}, section 4.3", MEASURED, "n^{:.2f}", chen.growth),
    Claim("all: 1.3x time (Chen 2016, section 5.4: 30 % more)", QUOTED, MEASURED, RATIO, typical.times("all")),
    Claim("all: 0.5x memory", QUOTED, MEASURED, RATIO, typical.memory("all")),
    Claim("selective: 1.15x time", QUOTED, MEASURED, RATIO, typical.times(typical.SELECTIVE)),
    Claim("selective: 0.7x memory", QUOTED, MEASURED, RATIO, typical.memory(typical.SELECTIVE)),
)


def rows(table: pd.DataFrame) -> list[list[str]]:
    """The cells of every claim that the table has the cases for, in the order of the headings."""
    ended = table[table.status == "ok"]
    return [
        [
            claim.text,
            claim.source,
            found.where,
            claim.form.format(found.published),
            claim.form.format(found.ours),
            claim.verdict(found),
            found.why,
        ]
        for claim in CLAIMS
        for found in claim.find(ended)
    ]


def markdown(table: pd.DataFrame) -> str:
    """The table of claims as Markdown, with the versions of JAX; empty where the run has the cases of no claim."""
    lines = rows(table)
    versions = ", ".join(sorted(table.jax.dropna().astype(str).unique()))
    caption = f"\nMeasured with jax {text.markdown(versions)}.\n" if versions else ""
    return f"{tables.make_markdown_table(lines, HEADINGS)}\n{caption}" if lines else ""
