"""Probes: a number with its unit and source, or a note why there is none; never 0 in its place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from artifex_bench.remat.measure.probes import PROBES, absent, take
from artifex_bench.remat.measure.roofline import Estimate

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


def taken(phase, result, **changes):
    return {m.probe: m for m in take(phase, SimpleNamespace(**{**vars(result), **changes}))}


def test_each_number_has_its_unit_and_its_source():
    for phase, result in (("compiled", COMPILED), ("ran", RAN)):
        for name, found in taken(phase, result).items():
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


PLANNED = SimpleNamespace(
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
    found = taken("planned", PLANNED)
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
    ("phase", "result", "changes", "probe", "note"),
    [
        ("compiled", COMPILED, {"from_cache": True}, "compile_seconds", "came from the cache"),
        ("compiled", COMPILED, {"flops": None}, "compiled_flops", "no cost analysis"),
        ("planned", PLANNED, {"estimate": "no links"}, "estimated_step_seconds", "no links"),
        ("ran", RAN, {"peak": None, "peak_source": "cannot be read"}, "measured_peak_bytes", "cannot be read"),
        ("ran", RAN, {"others_share": None}, "other_cpu_share", "Linux only"),
        ("ran", RAN, {"first_result": None}, "gradient_sketch", "first round"),
    ],
)
def test_what_cannot_be_taken_is_absent_with_a_reason(phase, result, changes, probe, note):
    found = taken(phase, result, **changes)[probe]
    assert (found.values, found.source) == ((), "")
    assert note in found.note


def test_nothing_is_still_a_number():
    assert taken("ran", RAN, peak=0)["measured_peak_bytes"].values == (0,)
    assert taken("ran", RAN, others_share=0.0)["other_cpu_share"].values == (0.0,)


def test_a_phase_left_out_says_why_for_each_of_its_probes():
    found = list(absent("split", "not asked for"))
    assert [m.probe for m in found] == [name for name, probe in PROBES.items() if probe.phase == "split"]
    assert all(m.note == "not asked for" and not m.values for m in found)
