"""Probes: a number with its unit and source, or a note why there is none, and the columns that they get."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from artifex_bench.core.record import Measurement
from artifex_bench.core.results import CaseResult
from artifex_bench.kinds.remat_columns import COLUMNS, probe_columns
from artifex_bench.remat.measure.probes import PROBES, Probe, skip_probes, take_probes
from artifex_bench.remat.measure.roofline import Estimate
from tests.build import record

COMPILED = SimpleNamespace(
    trace_seconds=0.5,
    compile_seconds=2.0,
    from_cache=False,
    options={"flag": "on"},
    peak=100,
    parts={"temp_bytes": 60},
    flops=7.0,
    devices=1,
)
RAN = SimpleNamespace(
    first_seconds=1.0,
    seconds=[0.1, 0.2],
    peak=300,
    peak_source="the meter",
    others_share=0.0,
    first_result=(1.5, {"w": {"norm": 3.0}, "b": {"norm": 4.0}}),
)


def taken(stage, result, **changes):
    return {m.probe: m for m in take_probes(stage, SimpleNamespace(**{**vars(result), **changes}))}


def test_each_number_has_its_unit_and_its_source():
    for stage, result in (("compiled", COMPILED), ("ran", RAN)):
        for name, found in taken(stage, result).items():
            assert found.unit == PROBES[name].unit
            assert found.values and found.source and not found.note, name


def test_figures_of_one_of_several_devices_say_so():
    found = taken("compiled", COMPILED, devices=8)
    assert all(found[name].source.endswith(", of each device") for name in ("compiled_peak_bytes", "compiled_flops"))


def test_raw_values_are_kept():
    assert taken("ran", RAN)["step_seconds"].values == (0.1, 0.2)
    assert taken("compiled", COMPILED)["compiled_peak_bytes"].detail == {"temp_bytes": 60, "options": {"flag": "on"}}
    sketch = taken("ran", RAN)["gradient_sketch"]
    assert (sketch.values, sketch.detail["loss"]) == ((5.0,), 1.5)


ESTIMATED = SimpleNamespace(
    description=SimpleNamespace(
        capacity_bytes=160,
        capacity_source="its maker",
        memory_bytes=200,
        memory_source="its label",
        bandwidth=5.0,
        peak_flops={"float32": 7.0},
        roofline_source="it",
    ),
    estimate=Estimate(0.25, 12.0, 34.0),
)


def test_an_estimate_is_never_called_a_measurement_and_carries_what_it_comes_from():
    found = taken("estimated", ESTIMATED)
    assert set(found) == {"capacity_bytes", "device_memory_bytes", "estimated_step_seconds"}
    assert found["capacity_bytes"].values == (160,)
    estimated = found["estimated_step_seconds"]
    assert (estimated.values, estimated.source.startswith("an estimate, not a measurement")) == ((0.25,), True)
    assert estimated.detail == {
        "product_flops": 12.0,
        "bytes": 34.0,
        "bandwidth": 5.0,
        "peak_flops": {"float32": 7.0},
        "peaks": "it",
        "published_steps": (1.1, 1.5),
    }


@pytest.mark.parametrize(
    ("stage", "result", "changes", "probe", "note"),
    [
        ("compiled", COMPILED, {"from_cache": True}, "compile_seconds", ""),
        ("compiled", COMPILED, {"flops": None}, "compiled_flops", ""),
        ("compiled", COMPILED, {"flops": -1.0}, "compiled_flops", ""),
        ("estimated", ESTIMATED, {"estimate": "no links"}, "estimated_step_seconds", "no links"),
        ("ran", RAN, {"peak": None, "peak_source": "cannot be read"}, "measured_peak_bytes", "cannot be read"),
        ("ran", RAN, {"others_share": None}, "other_cpu_share", ""),
        ("ran", RAN, {"first_result": None}, "gradient_sketch", ""),
    ],
)
def test_a_number_that_cannot_be_taken_is_absent_with_a_reason(stage, result, changes, probe, note):
    found = taken(stage, result, **changes)[probe]
    assert (found.values, found.source) == ((), "")
    assert found.note and note in found.note


def test_zero_is_a_number():
    assert taken("ran", RAN, peak=0)["measured_peak_bytes"].values == (0,)
    assert taken("ran", RAN, others_share=0.0)["other_cpu_share"].values == (0.0,)


def test_a_stage_that_is_left_out_gives_its_reason_for_each_probe():
    found = list(skip_probes("forward", "not asked for"))
    assert [m.probe for m in found] == [name for name, probe in PROBES.items() if probe.stage == "forward"]
    assert all(m.note == "not asked for" and not m.values for m in found)


def test_each_column_of_a_probe_has_the_reduction_of_its_entry():
    columns = {column.name: column for column in COLUMNS}
    for name, probe in PROBES.items():
        if probe.reduction is None:
            continue
        assert columns[name].interval == (probe.reduction == "median"), name
        assert columns[name].doc == probe.doc


@pytest.mark.parametrize(("reduction", "names"), [("first", ["new"]), ("median", ["new", "new_low", "new_high"])])
def test_a_new_probe_gets_a_column_by_its_reduction(monkeypatch, reduction, names):
    monkeypatch.setitem(
        PROBES, "new", Probe("flop", "A new number.", "ran", lambda ran: ([1.0], "test", {}), reduction)
    )
    [column] = [column for column in probe_columns() if column.name == "new"]
    rounds = tuple(
        record("none", round=number, measurements=(Measurement("new", "flop", values, "test"),))
        for number, values in enumerate([(5.0,), (1.0,), (3.0,)])
    )
    cells = dict(column.cells(CaseResult(rounds[0].case, rounds)))
    assert (list(cells), cells["new"]) == (names, 5.0 if reduction == "first" else 3.0)
    assert (column.doc, column.unit) == ("A new number.", "count")
