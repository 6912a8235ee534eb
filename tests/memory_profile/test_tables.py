"""Tables of profiles that sum to the peak, the difference of two cases, files, and a plot."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core import record as records
from artifex_bench.core import units
from artifex_bench.core.record import Measurement, record_from_json, record_to_json
from artifex_bench.memory_profile import BUFFERS, LIVE, tables
from artifex_bench.memory_profile.page import write_timeline_page
from artifex_bench.report.plots import style
from tests.build import record, taken
from tests.damage import changed


def row(size, operation="exp", scope="layers/mlp", phase="forward", shape="f32[2,4]", source="me/model.py:7"):
    return {"bytes": size, "scope": scope, "operation": operation, "phase": phase, "shape": shape, "source": source}


LEFT_OVER = row(24, "reserved, not alive at the peak", "", "", "", "")
ROWS = [
    row(400, "params.layers.up.kernel", "", "argument", "f32[10,10]", ""),
    row(200, "params.layers.down.kernel", "", "argument", "f32[5,10]", ""),
    row(100),
    row(100),
    row(100, "dot_general", phase="recomputed"),
    LEFT_OVER,
]
PEAK = sum(one["bytes"] for one in ROWS)
RESIDUAL = {
    "bytes": 64,
    "shape": "[2,8]",
    "dtype": "float32",
    "scope": "layers",
    "operation": "exp",
    "name": "probs",
    "source": "me/model.py:8",
}
AT = {"scope": "layers/mlp", "operation": "add", "phase": "backward", "source": "me/model.py:9"}
OLD = {"moment": 1, "throughout_bytes": 600, "peak_bytes": PEAK, "at": AT, "phases": ["forward", "backward", "step"]}
BUFFERS_ALIVE = [
    {**row(0), "name": "fusion.1", "lives": [[0, 1, 100]]},
    {**row(0), "name": "fusion.2{0}", "lives": [[1, 1, 100]]},
    {**row(0, "dot_general", phase="recomputed"), "name": "dot.3", "lives": [[1, 1, 100], [2, 2, 50]]},
]
for one in BUFFERS_ALIVE:
    del one["bytes"]
CURVE = {**OLD, "buffers": BUFFERS_ALIVE}


def listed(probe, rows, **detail):
    return Measurement(probe, "bytes", tuple(one["bytes"] for one in rows), "fake", detail={"rows": rows, **detail})


def profiled(strategy="none", rows=ROWS, residuals=(RESIDUAL,), curve=CURVE):
    saved = sum(one["bytes"] for one in residuals)
    return record(
        strategy,
        measurements=(
            taken("residual_bytes", saved),
            taken("compiled_peak_bytes", sum(one["bytes"] for one in rows)),
            listed("saved_residuals", residuals)
            if residuals
            else Measurement("saved_residuals", "bytes", note="autodiff saves nothing but arguments"),
            listed("peak_buffers", rows),
            Measurement("live_bytes", "bytes", (700.0, PEAK - 24.0, 650.0), "fake", detail=curve),
        ),
    )


def test_equal_buffers_are_one_group_and_arguments_are_grouped_by_tree():
    groups = tables.group_rows(ROWS)
    assert [(group["operation"], group["bytes"], group["count"]) for group in groups] == [
        ("params", 600, 2),
        ("exp", 200, 2),
        ("dot_general", 100, 1),
        ("reserved, not alive at the peak", 24, 1),
    ]


def test_the_table_ends_with_the_peak_and_names_its_moment():
    (title, headings, _, lines, notes), (residuals, *_) = tables.make_tables(profiled())
    assert title.startswith("none: ") and title.endswith(units.format_bytes(PEAK))
    assert residuals.startswith("none: ") and residuals.endswith(units.format_bytes(RESIDUAL["bytes"]))
    assert all(len(line) == len(headings) for line in lines)
    assert [line[:4] for line in lines] == [
        ["600 B", "64.9%", "2", "–"],
        ["200 B", "21.6%", "2", "layers/mlp"],
        ["100 B", "10.8%", "1", "layers/mlp"],
        ["24 B", "2.6%", "–", "–"],
        ["924 B", "100.0%", "5", "–"],
    ]
    assert [line[4] for line in lines[:4]] == ["params", "exp", "dot_general", LEFT_OVER["operation"]]
    (note,) = notes
    assert all(value in note for value in ("2 of 3", *AT.values()))


def test_groups_past_the_top_share_a_line():
    many = [row(1000 - i, f"op{i}") for i in range(30)]
    (_, _, _, lines, _), *_ = tables.make_tables(profiled(rows=[*many, LEFT_OVER]))
    assert len(lines) == tables.TOP + 3
    assert lines[tables.TOP][2] == "10"


def test_a_measurement_that_was_not_taken_shows_its_note():
    absent = [Measurement(probe, "bytes", note="why") for probe in (BUFFERS, LIVE)]
    ((_, _, _, lines, notes),) = tables.make_tables(record(measurements=(taken("compiled_peak_bytes", 924), *absent)))
    assert (lines, notes) == ([], ["why"])


def test_nothing_saved_is_a_table_without_lines():
    *_, (title, _, _, lines, notes) = tables.make_tables(profiled(residuals=()))
    assert title.endswith(" 0 B")
    assert (lines, notes) == ([], ["autodiff saves nothing but arguments"])  # the note of the fabricated record


sizes = st.integers(1, 10**9)
kinds = st.builds(
    row,
    sizes,
    st.sampled_from(["exp", "dot_general", "add"]),
    st.sampled_from(["", "layers/mlp"]),
    st.sampled_from(["forward", "backward", "recomputed", ""]),
    st.sampled_from(["f32[2]", "f32[4,2]"]),
)


@given(st.lists(kinds, min_size=1, max_size=60), st.lists(kinds, min_size=1, max_size=60))
def test_differences_sum_to_the_difference_of_the_peaks(one, other):
    peaks = [sum(row["bytes"] for row in rows) for rows in (one, other)]
    found = tables.compare_buffers(one, other)
    assert sum(kind["difference"] for kind in found) == peaks[0] - peaks[1]
    assert [sum(kind[name] for kind in found) for name in ("one", "other")] == peaks
    for rows in (one, other):
        assert sum(group["bytes"] for group in tables.group_rows(rows)) == sum(row["bytes"] for row in rows)


def test_what_a_strategy_removes_comes_before_what_it_adds():
    removed = [row(300, "tanh"), *ROWS]
    _, headings, _, lines, _ = tables.make_comparison(profiled(rows=removed), profiled("all", [row(50, "sin"), *ROWS]))
    assert headings[:3] == ("difference", "none", "all")
    assert [line[4] for line in lines[:2]] == ["tanh", "sin"]
    assert [line[:4] for line in lines] == [
        ["+300 B", "300 B", "0 B", "layers/mlp"],
        ["-50 B", "0 B", "50 B", "layers/mlp"],
        ["0 B", "924 B", "924 B", ""],  # equal in both
        ["+250 B", "1.20 KiB", "974 B", ""],  # the peaks
    ]


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setitem(style._STYLE, "figure.dpi", 30)


def test_files_contain_every_row_and_the_plot_is_not_empty(tmp_path, coarse):
    one, other = profiled(), profiled("all")
    written = tables.write_profile(one, tmp_path)
    assert [path.name for path in written] == ["buffers.csv", "residuals.csv", "live.png", "timeline.html"]
    buffers, residuals = (pd.read_csv(path) for path in written[:2])
    assert buffers.bytes.sum() == PEAK and len(buffers) == len(ROWS)
    assert list(residuals.columns) == ["bytes", "shape", "dtype", "scope", "operation", "name", "source"]
    assert style.plt.imread(written[2]).std() > 0
    assert [path.name for path in tables.write_comparison(one, other, tmp_path)] == [
        *("removed.csv", "live.png", "timeline.html")
    ]
    assert pd.read_csv(tmp_path / "removed.csv").difference.sum() == 0
    assert style.plt.get_fignums() == []


def test_an_old_profile_has_the_old_picture_and_no_page(tmp_path, coarse):
    old = record_from_json(json.loads(json.dumps(record_to_json(profiled(curve=OLD)))))
    written = [path.name for path in tables.write_profile(old, tmp_path)]
    assert written == ["buffers.csv", "residuals.csv", "live.png"]
    assert [path.name for path in tables.write_comparison(profiled(), old, tmp_path)] == ["removed.csv", "live.png"]
    assert style.plt.imread(tmp_path / "live.png").std() > 0


def test_what_was_not_taken_is_not_written(tmp_path):
    assert tables.write_profile(record("none", "oom"), tmp_path) == []


def test_a_profile_with_one_value_changed_is_refused_or_can_be_shown(tmp_path):
    whole = profiled(rows=ROWS[:3])
    for path, _, damaged in changed(json.loads(json.dumps(record_to_json(whole)))):
        if path[0] != "measurements" or path[1:2] in ((0,), (1,)):
            continue  # fields and probes that every record has
        try:
            found = record_from_json(damaged)
        except records.RecordError:
            continue
        list(tables.make_tables(found))
        tables.make_comparison(found, whole)
        write_timeline_page([found], tmp_path / "timeline.html")


@pytest.mark.parametrize(
    ("probe", "change", "place"),
    [
        ("live_bytes", {"moment": 3}, r"detail\.moment 3"),
        ("live_bytes", {"moment": -1}, r"detail\.moment -1"),
        ("live_bytes", {"phases": ["forward"]}, r"detail\.phases"),
        ("live_bytes", {"buffers": [{**BUFFERS_ALIVE[0], "lives": [[0, 3, 1]]}]}, r"buffers\[0\]\.lives 0, 3"),
        ("live_bytes", {"buffers": [{**BUFFERS_ALIVE[0], "lives": [[2, 1, 1]]}]}, r"buffers\[0\]\.lives 2, 1"),
        ("peak_buffers", {"rows": [{**row(9), "=a": [1]}]}, r"rows\[0\].=a"),
    ],
)
def test_details_that_do_not_fit_each_other_are_refused(probe, change, place):
    data = json.loads(json.dumps(record_to_json(profiled())))
    next(one for one in data["measurements"] if one["probe"] == probe)["detail"] |= change
    with pytest.raises(records.RecordError, match=place):
        record_from_json(data)
