"""Plots: those that the data allow, and no more; warnings are errors."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pytest

from artifex_bench.core import store
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import plots
from artifex_bench.report.build import write_report
from artifex_bench.report.plots import segments, style
from tests.build import case, measured, record, taken

FORWARD = (taken("forward_seconds", 0.004, 0.004),)


def ok(which, peak=5000, steps=(0.010, 0.011), more=()):
    return record(which, measurements=(*measured(steps, peak=peak), *more))


def drawn(tmp_path, records):
    """The names of the plots, each a picture with something in it; nothing is left open."""
    paths = plots.write_plots(make_frame(records), tmp_path / "plots")
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert plt.imread(path).std() > 0
    assert plt.get_fignums() == []
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)
    return {path.stem for path in paths}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Fewer pixels, sooner."""
    monkeypatch.setitem(style._STYLE, "figure.dpi", 30)
    yield
    plt.close("all")  # so that one failure is not blamed on the next


def test_a_single_case(tmp_path):
    assert drawn(tmp_path, [ok("none")]) == {"tradeoff"}


def test_strategies_of_one_shape(tmp_path):
    assert drawn(tmp_path, [ok("none"), ok("all", 3000), record("every-2", "oom")]) == {"tradeoff"}


def test_budgets_over_the_points_of_strategies_by_hand(tmp_path):
    records = [ok("none"), ok("all", 3000), ok("budget-0.25", 3400), ok("budget-0.5", 3900), ok("budget-0.75", 3900)]
    (tmp_path / "single").mkdir()
    assert drawn(tmp_path, records) == {"tradeoff", "budget"}
    assert drawn(tmp_path / "single", records[:3]) == {"tradeoff"}  # a single budget is no curve
    figure = plots.plot_run(make_frame(records), "budget")
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.texts] == ["0.25", "0.5, 0.75", "none", "all"]
    line, *marks = panel.get_lines()
    assert len(line.get_xdata()) == 3
    assert sorted(mark.get_gid() for mark in marks) == [f"mark-{i}" for i in range(5)]


def test_all_failed(tmp_path):
    assert drawn(tmp_path, [record("none", "failed"), record("all", "oom")]) == set()


def test_no_rows(tmp_path):
    assert drawn(tmp_path, []) == set()


def test_a_time_split(tmp_path):
    assert drawn(tmp_path, [ok("none", more=FORWARD), ok("all")]) == {"tradeoff", "time_split"}


def test_a_time_split_of_some(tmp_path):
    records = [ok("none", more=FORWARD), ok("all"), ok("every-2", steps=())]
    assert "time_split" in drawn(tmp_path, records)


@pytest.mark.parametrize("axis", ["width", "sequence"])  # depth and batch: below
def test_scaling(tmp_path, axis):
    records = [ok(case(s, **{axis: n})) for s in ("none", "all") for n in (32, 64)]
    assert drawn(tmp_path, records) == {"tradeoff", f"scaling_{axis}"}


def test_scaling_of_several_axes_and_strategies(tmp_path):
    points = itertools.product(("none", "all"), (2, 4), (8, 16))
    found = drawn(tmp_path, [ok(case(s, depth=d, batch=b)) for s, d, b in points])
    assert found == {"tradeoff", "scaling_depth", "scaling_batch"}


def test_a_model_without_a_sequence_scales_as_well(tmp_path):
    mlp = {"model": "mlp", "sequence": None, "heads": None}
    assert drawn(tmp_path, [ok(case(depth=d, **mlp)) for d in (2, 4)]) == {"tradeoff", "scaling_depth"}


def test_models_beside_each_other(tmp_path):
    mlp = {"model": "mlp", "sequence": None, "heads": None}
    assert drawn(tmp_path, [ok(case(depth=d, **more)) for d in (2, 4) for more in (mlp, {})]) == {
        "tradeoff",
        "scaling_depth",
    }


def test_a_reference_that_fell_leaves_nothing_to_compare_with(tmp_path):
    """The case that checkpointing is for: without it memory runs out."""
    records = [record("none", "oom"), ok("all")]
    assert drawn(tmp_path, records) == set()


def test_a_reference_that_fell_in_one_shape_alone(tmp_path):
    records = [record("none", "oom"), ok("all"), ok(case(depth=4)), ok(case("all", depth=4))]
    assert drawn(tmp_path, records) == {"tradeoff", "scaling_depth"}


def test_compile_only(tmp_path):
    assert drawn(tmp_path, [ok(case(s, depth=d), steps=()) for s in ("none", "all") for d in (2, 4)]) == {
        "scaling_depth"
    }


def test_the_curve_of_segments(tmp_path):
    names = ("none", "all", *(f"segments-{n}" for n in (1, 2, 4, 8)), *(f"nested-{n}" for n in (2, 4)))
    records = [ok(case(name, depth=16), 3000 + 100 * i, steps=()) for i, name in enumerate(names)]
    assert drawn(tmp_path, records) == {"segments"}


def test_no_curve_of_segments_is_drawn_through_several_shapes():
    points = itertools.product([f"segments-{n}" for n in (1, 2, 4, 8)], (2, 4))
    records = [ok(case(name, depth=16, batch=batch), steps=()) for name, batch in points]
    table = make_frame(records)
    assert segments.plot_segments(table, style.case_styles(table)) is None


def test_steps_without_a_compiled_peak(tmp_path):
    """A backend that reports no memory analysis."""
    records = [record(s, measurements=(taken("step_seconds", 0.01, 0.02),)) for s in ("none", "all")]
    assert drawn(tmp_path, records) == set()


def test_more_strategies_than_colours_are_told_apart():
    styles = style.assign_styles([f"every-{n}" for n in range(500)])
    assert len({tuple(style.items()) for style in styles.values()}) == 500


def test_a_strategy_has_one_style_in_all_plots_of_a_run():
    """Also where its plot has not all strategies: failed ones count."""
    records = [record("every-2", "oom"), ok("none"), ok("all", 3000), ok("budget-0.25", 3400), ok("budget-0.5", 3900)]
    table = make_frame(records)
    styles = style.case_styles(table)
    assert next(iter(styles)) == "none"
    wanted = {f"mark-{table.index[table.strategy == name][0]}": styles[name] for name in ("none", "all")}
    for name in ("tradeoff", "budget"):
        (panel,) = plots.plot_run(table, name).axes
        marks = {line.get_gid(): line for line in panel.get_lines() if line.get_gid() in wanted}
        assert {gid: {"color": line.get_color(), "marker": line.get_marker()} for gid, line in marks.items()} == wanted


def test_a_report_is_tables_and_plots(tmp_path):
    store.create_run(tmp_path / "run", {})
    for one in (ok("none"), ok("all")):
        store.append_record(tmp_path / "run", one)
    table, written = write_report(tmp_path / "run")
    assert list(table.strategy) == ["none", "all"]
    assert [path.name for path in written] == ["table.csv", "table.md", "tradeoff.png"]
    assert all(path.exists() for path in written)


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    store.create_run(tmp_path / "run", {})
    store.append_record(tmp_path / "run", ok("none"))
    (tmp_path / "run" / "table.csv").mkdir()
    with pytest.raises(store.StoreError, match=r"cannot write the report of .*: Is a directory"):
        write_report(tmp_path / "run")
