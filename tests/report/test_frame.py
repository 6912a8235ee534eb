"""A run as a table: one row a case, absent values absent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.core import case as cases
from artifex_bench.core import store
from artifex_bench.core.case_names import case_id
from artifex_bench.core.fields import axis_names
from artifex_bench.core.record import Measurement
from artifex_bench.core.registry import load_kind
from artifex_bench.core.results import drop_contended_times
from artifex_bench.core.stats import summarize
from artifex_bench.core.verdicts import Agreement, Verdict
from artifex_bench.kinds.frames import make_frame
from artifex_bench.kinds.remat_columns import items_per_step
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.report.frame import load_run
from tests import strategies as made
from tests.build import case, measured, record, taken

ONCE = tuple(c.name for c in load_kind("remat").columns if c.name in PROBES and not c.interval)
TIMED = ("step_seconds", "first_step_seconds", "forward_seconds", "measured_peak_bytes")
PLAIN, QUICK = (0.010, 0.011, 0.012), (0.020, 0.022, 0.024)


def row(records, strategy):
    table = make_frame(records)
    return table[table.strategy == strategy].iloc[0]


def test_a_row_a_case_in_the_order_they_came():
    records = [record("none"), record("all"), record("none", round=1), record("all", round=1)]
    table = make_frame(records)
    assert list(table.strategy) == ["none", "all"]
    assert list(table["case"]) == [case_id(case("none")), case_id(case("all"))]
    assert list(table.rounds) == [2, 2]
    assert list(table.samples) == [6, 6]


def test_every_axis_and_probe_has_a_column():
    table = make_frame([record("none")])
    assert {*axis_names(cases.RematCase), *ONCE, *TIMED} <= set(table.columns)


def test_values_are_those_of_the_records():
    found = row([record("none"), record("all", measurements=measured(QUICK, residual=400, peak=3000))], "all")
    assert (found.residual_bytes, found.compiled_peak_bytes, found.compile_seconds) == (400, 3000, 1.25)
    summary = summarize([QUICK])
    assert (found.step_seconds, found.step_seconds_low, found.step_seconds_high) == (
        summary.median,
        summary.low,
        summary.high,
    )
    assert found.throughput_per_second == pytest.approx(2 * 16 / 0.022)
    assert (found.time_ratio, found.residual_ratio, found.compiled_peak_ratio) == pytest.approx((2.0, 0.4, 0.6))
    assert found.time_ratio_low <= found.time_ratio <= found.time_ratio_high


def test_medians_are_over_all_rounds_and_what_is_taken_once_is_of_the_first():
    second = (taken("step_seconds", 0.03, 0.03), taken("compile_seconds", 99.0))
    found = row([record("none"), record("none", round=1, measurements=second)], "none")
    assert found.step_seconds == np.median([*PLAIN, 0.03, 0.03])
    assert found.compile_seconds == 1.25


def test_what_was_not_measured_is_absent_and_never_zero():
    found = row([record("none", measurements=())], "none")
    for column in (*ONCE, *TIMED, "throughput_per_second", "time_ratio", "residual_ratio", "other_cpu_share"):
        assert pd.isna(found[column]), column
    assert found.samples == 0
    assert not found.contended
    for column in ("verdict", "agrees", "measured_peak_source"):
        assert found[column] is None or pd.isna(found[column])


def test_numbers_are_numbers_even_where_none_was_taken():
    table = make_frame([record("none", measurements=()), record("all", "oom")])
    for column in (*ONCE, *TIMED, "time_ratio", "time_ratio_low", "compiled_peak_ratio", "throughput_per_second"):
        assert table[column].dtype == float, column


def test_a_model_without_a_sequence_counts_samples():
    mlp = case(model="mlp", sequence=None, heads=None, batch=6)
    found = make_frame([record(mlp)]).iloc[0]
    assert (items_per_step(mlp), found.throughput_unit) == (6, "samples")
    assert found.throughput_per_second == pytest.approx(6 / 0.011)
    assert pd.isna(found.sequence)
    assert make_frame([record("none")]).iloc[0].throughput_unit == "tokens"


def test_the_three_memory_columns_are_never_merged():
    found = row([record("none", measurements=(taken("residual_bytes", 7),))], "none")
    assert (found.residual_bytes, pd.isna(found.compiled_peak_bytes), pd.isna(found.measured_peak_bytes)) == (
        7,
        True,
        True,
    )


def test_the_source_of_the_measured_peak_stands_beside_it():
    there = Measurement("measured_peak_bytes", "bytes", (9.0,), "resident peak")
    assert row([record("none", measurements=(there,))], "none").measured_peak_source == "resident peak"
    assert row([record("none")], "none").measured_peak_source == "not read here"


def test_recomputed_flops_are_what_there_is_more_than_in_the_reference():
    found = row([record("none"), record("all", measurements=measured(recomputed=300))], "all")
    assert (found.gradient_flops, found.model_flops, found.recomputed_flops) == (1200, 900, 300)
    alone = row([record("all", measurements=measured(recomputed=300))], "all")
    assert (alone.gradient_flops, pd.isna(alone.model_flops), pd.isna(alone.recomputed_flops)) == (1200, True, True)


def test_one_sample_has_no_interval():
    found = row([record("none"), record("all", measurements=measured((0.02,)))], "all")
    assert found.time_ratio == pytest.approx(2 / 1.1)
    for column in ("step_seconds_low", "step_seconds_high", "time_ratio_low", "time_ratio_high"):
        assert pd.isna(found[column])


def test_a_case_without_its_reference_has_no_ratios():
    for records in ([record("all")], [record("none", "oom"), record("all")]):
        found = row(records, "all")
        for column in ("time_ratio", "time_ratio_low", "compiled_peak_ratio", "residual_ratio"):
            assert pd.isna(found[column])


def test_a_case_of_another_shape_is_no_reference():
    assert pd.isna(row([record(case("none", depth=3)), record("all")], "all").time_ratio)


@pytest.mark.parametrize("status", ["oom", "timeout", "failed", "skipped"])
def test_the_worst_round_gives_the_status_and_what_was_measured_survives(status):
    fell = record("none", status, round=1, measurements=())
    found = row([record("none"), fell], "none")
    assert (found.status, found.reason) == (status, f"it was {status}")
    assert found.step_seconds == 0.011


def test_verdict_and_agreement_are_those_of_the_first_round():
    first = record("all", verdict=Verdict("effective", "why"), agreement=Agreement(True, "equal"))
    found = row([first, record("all", round=1)], "all")
    assert (found.verdict, found.verdict_reason, found.agrees, found.agreement_reason) == (
        "effective",
        "why",
        True,
        "equal",
    )


@pytest.mark.parametrize(("shares", "contended"), [((0.05, 0.1), False), ((0.0, 0.11), True), ((), False)])
def test_a_case_that_shared_the_machine_is_contended(shares, contended):
    rounds = [record("none", round=i, measurements=(taken("other_cpu_share", s),)) for i, s in enumerate(shares)]
    found = make_frame(rounds or [record("none")]).iloc[0]
    assert found.contended == contended
    assert pd.isna(found.other_cpu_share) if not shares else found.other_cpu_share == max(shares)


def test_no_records_are_no_rows():
    assert make_frame([]).empty


def test_a_folder_is_read_whole(tmp_path):
    store.create_run(tmp_path / "run", {})
    store.append_record(tmp_path / "run", record("none"))
    pd.testing.assert_frame_equal(load_run(str(tmp_path / "run")), make_frame([record("none")]))
    with pytest.raises(store.StoreError, match="holds no run"):
        load_run(tmp_path)


@given(st.lists(made.records.filter(lambda r: r.case.model in ("mlp", "vae", "transformer")), max_size=4))
@settings(max_examples=8)
def test_any_records_make_a_table(records):
    table = make_frame(records)
    assert len(table) == len({one.case for one in records})


def test_without_contended_visits_the_rest_of_them_is_left():
    """Where three others are left; what a job found besides its times stays."""
    shares = (0.5, 0.0, 0.0, 0.0)
    records = [
        record("none", round=i, measurements=(*measured((0.01 + share,)), taken("other_cpu_share", share)))
        for i, share in enumerate(shares)
    ]
    left = row(drop_contended_times(records), "none")
    assert (left.contended, left.step_seconds, left.samples, left.rounds) == (False, 0.01, 3, 4)
    assert drop_contended_times(records)[0].value("compiled_peak_bytes") == records[0].value("compiled_peak_bytes")
    assert drop_contended_times(records[:3]) == records[:3]
    assert row(drop_contended_times(records[:3]), "none").contended
