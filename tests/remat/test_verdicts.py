"""The four verdicts, each from a program that was really compiled for this CPU."""

from __future__ import annotations

import jax
import pytest
from packaging.version import Version

from artifex_bench.core.verdicts import VerdictName
from artifex_bench.core.versions import CPU_KEEPS_RECOMPUTATION
from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.verdict import judge_record
from tests import programs
from tests.programs import case

SIZE = {"depth": 4, "width": 32, "batch": 256, "step": "gradient"}


def verdict(strategy, **fields):
    one, plain = (programs.record(case("mlp", s, **SIZE, **fields)) for s in (strategy, "none"))
    return judge_record(one, plain).verdict.name


@pytest.mark.parametrize(
    ("strategy", "layers"), [("all", "scan"), ("all", "unroll"), ("segments-2", "unroll"), ("every-2", "unroll")]
)
def test_effective_where_the_compiled_program_needs_less(strategy, layers):
    assert verdict(strategy, layers=layers) == VerdictName.EFFECTIVE


MERGES = Version(jax.__version__) < CPU_KEEPS_RECOMPUTATION


def test_eliminated_where_plain_jit_merges_the_recomputation_away():
    assert verdict("all", layers="unroll", compiler="default") == (
        VerdictName.ELIMINATED if MERGES else VerdictName.EFFECTIVE
    )


def test_faithful_compilation_keeps_what_the_default_eliminates():
    def kept(compiler):
        one, plain = (case("mlp", s, **SIZE, layers="unroll", compiler=compiler) for s in ("all", "none"))
        planned = count_flops(programs.traced(one).gradient) - count_flops(programs.traced(plain).gradient)
        return (programs.compiled(one).flops - programs.compiled(plain).flops) / planned

    assert kept("faithful") > 0.8
    assert kept("default") < 0.2 if MERGES else kept("default") == kept("faithful")


@pytest.mark.parametrize("layers", ["scan", "unroll"])
def test_no_op_where_everything_is_saved(layers):
    assert verdict("everything_saveable", layers=layers) == VerdictName.NO_OP


def test_no_saving_where_one_segment_holds_the_whole_stack():
    """Its backward pass first recomputes the whole forward pass, and then holds all values that `none` holds."""
    assert verdict("segments-4", layers="unroll") == VerdictName.NO_SAVING
