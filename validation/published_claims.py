"""CLAIMS: every published number that this tool checks, with its source, its tolerance and the code that checks it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from artifex_bench.report import tables, text
from validation import chen_2016, korthikanti_2022, quoted_ratios
from validation.reproduction import Reproduction

HEADINGS = ("claim", "source", "shape", "published", "ours", "result", "reason")
ZERO_TOLERANCE = 1e-9  # absolute, for numbers that are published as zero


@dataclass(frozen=True)
class Claim:
    """A published number.

    Attributes:
        name: Identifies the claim.
        text: The claim as the table shows it.
        source: Paper and equation or section.
        tolerance: Relative: rounding for exact claims, what the paper rounds or leaves out for others.
        form: Format string of a number in the claim's unit.
        compare: Yields the published number and ours for every shape in a run's table that has the cases.
    """

    name: str
    text: str
    source: str
    tolerance: float
    form: str
    compare: Callable[[pd.DataFrame], Iterator[Reproduction]]

    def agrees(self, reproduction: Reproduction) -> bool:
        """Tell whether ours is within the tolerance of the published number."""
        published, ours = reproduction.published, reproduction.ours
        return math.isclose(ours, published, rel_tol=self.tolerance, abs_tol=ZERO_TOLERANCE)


KORTHIKANTI, CHEN = "Korthikanti 2022, arXiv:2205.05198", "Chen 2016, arXiv:1604.06174"
QUOTED = "Artifex's guide to checkpointing, benchmark_checkpointing"
EXACT, COUNTED, MEASURED = 1e-9, 0.02, 0.1
BYTES, SHARE, RATIO = "{:.4g} s b h", "{:.1%}", "{:.2f}x"
CLAIMS = (
    Claim(
        "residuals",
        "residuals of a layer: s b h (34 + 5 a s/h) bytes in 16 bit",
        f"{KORTHIKANTI}, eq. 1",
        COUNTED,
        BYTES,
        korthikanti_2022.compare_residuals,
    ),
    Claim(
        "counted_tensors",
        "the tensors that both layers have, without the norms' outputs: s b h (28 + 2 a s/h) bytes in 16 bit",
        f"{KORTHIKANTI}, section 4.1",
        EXACT,
        BYTES,
        korthikanti_2022.compare_counted_tensors,
    ),
    Claim(
        "selective_residuals",
        "residuals with selective recomputation: 34 s b h bytes in 16 bit",
        f"{KORTHIKANTI}, eq. 6",
        COUNTED,
        BYTES,
        korthikanti_2022.compare_selective_residuals,
    ),
    Claim(
        "quadratic_residuals",
        "residuals with selective recomputation do not grow with s^2",
        f"{KORTHIKANTI}, eq. 6",
        EXACT,
        "{:.4g} a s^2 b",
        korthikanti_2022.compare_quadratic_residuals,
    ),
    Claim(
        "removed_share",
        "selective recomputation removes the share of 5 a s/h (GPT-3 70 %, MT-NLG 65 %)",
        f"{KORTHIKANTI}, section 5",
        COUNTED,
        SHARE,
        korthikanti_2022.compare_removed_share,
    ),
    Claim(
        "full_residuals",
        "residuals with full recomputation: 2 s b h bytes in 16 bit",
        f"{KORTHIKANTI}, table 2",
        EXACT,
        BYTES,
        korthikanti_2022.compare_full_residuals,
    ),
    Claim(
        "model_flops",
        "forward and backward pass of a layer: 72 b s h^2 (1 + s/6h) FLOPs",
        f"{KORTHIKANTI}, eq. 7",
        COUNTED,
        "{:.4g} b s h^2",
        korthikanti_2022.compare_model_flops,
    ),
    Claim(
        "selective_flops",
        "selective recomputation adds s/6h to the FLOPs (GPT-3 2.7 %, MT-NLG 1.6 %)",
        f"{KORTHIKANTI}, section 5, eq. 9",
        MEASURED,
        "{:.2%}",
        korthikanti_2022.compare_selective_flops,
    ),
    Claim(
        "full_flops",
        "recomputing each layer costs one more forward pass",
        f"{CHEN}, section 4.3",
        MEASURED,
        SHARE,
        korthikanti_2022.compare_full_flops,
    ),
    Claim(
        "segment_flops",
        "recomputing n layers in segments costs one more forward pass",
        f"{CHEN}, section 4.3",
        MEASURED,
        SHARE,
        chen_2016.compare_recomputed_flops,
    ),
    Claim(
        "segment_length",
        "memory is least with segments of sqrt(n) layers",
        f"{CHEN}, section 4.3",
        EXACT,
        "{:g}",
        chen_2016.compare_best_length,
    ),
    Claim(
        "segment_growth",
        "the least memory of segments grows as n^0.5",
        f"{CHEN}, section 4.3",
        MEASURED,
        "n^{:.2f}",
        chen_2016.compare_growth,
    ),
    Claim(
        "all_time",
        "all: 1.3x time (Chen 2016, section 5.4: 30 % more)",
        QUOTED,
        MEASURED,
        RATIO,
        quoted_ratios.compare_time_ratios("all"),
    ),
    Claim("all_memory", "all: 0.5x memory", QUOTED, MEASURED, RATIO, quoted_ratios.compare_memory_ratios("all")),
    Claim(
        "selective_time",
        "selective: 1.15x time",
        QUOTED,
        MEASURED,
        RATIO,
        quoted_ratios.compare_time_ratios(quoted_ratios.SELECTIVE),
    ),
    Claim(
        "selective_memory",
        "selective: 0.7x memory",
        QUOTED,
        MEASURED,
        RATIO,
        quoted_ratios.compare_memory_ratios(quoted_ratios.SELECTIVE),
    ),
)


def check_claims(table: pd.DataFrame) -> Iterator[tuple[Claim, Reproduction]]:
    """Check every claim that a run has the cases for.

    Args:
        table: A run's table, as `load_run` returns it.

    Yields:
        A claim and its reproduction, in the order of `CLAIMS`. A run without remat cases yields nothing.
    """
    if table.empty or table.kind.iloc[0] != "remat":
        return
    completed = table[table.status == "ok"]
    for claim in CLAIMS:
        for reproduction in claim.compare(completed):
            yield claim, reproduction


def format_claims_markdown(table: pd.DataFrame) -> str:
    """Format the checked claims as a Markdown table with the version of JAX below it.

    Args:
        table: A run's table, as `load_run` returns it.

    Returns:
        The text of `papers.md`. It is empty if the run has the cases of no claim.
    """
    lines = [
        [
            claim.text,
            claim.source,
            reproduction.shape,
            claim.form.format(reproduction.published),
            claim.form.format(reproduction.ours),
            "agrees" if claim.agrees(reproduction) else "differs",
            reproduction.reason,
        ]
        for claim, reproduction in check_claims(table)
    ]
    versions = ", ".join(sorted(table.jax.dropna().astype(str).unique())) if lines else ""
    caption = f"\nMeasured with jax {text.escape_markdown(versions)}.\n" if versions else ""
    return f"{tables.make_markdown_table(lines, HEADINGS)}\n{caption}" if lines else ""
