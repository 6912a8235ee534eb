"""What plots show: origins, names at points, shared and truncated axes, intervals, contradictions."""

from __future__ import annotations

import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from artifex_bench.core.case import CheckpointCase, FaultCase
from artifex_bench.core.record import Measurement, Record
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.comparison import compare_runs
from artifex_bench.report.plots import labels, panels, plot_run, style, time_split
from artifex_bench.report.plots.comparison import plot_comparison
from tests.build import case, measured, record, taken
from tests.report.test_planned import GIB, RECORDS, compiled

ENVIRONMENT = {"device": "NVIDIA H200", "versions": {"jax": "0.12.0"}}


@pytest.fixture(autouse=True)
def closed():
    yield
    left = plt.get_fignums()
    plt.close("all")  # so that one failure is not blamed on the next
    assert left == []


def ok(which, peak=5000, steps=(0.010, 0.011), **fields):
    return record(which, measurements=(*measured(steps, peak=peak), *fields.pop("more", ())), **fields)


def below(figure):
    """The lines of small text below a figure."""
    return "\n".join(text.get_text() for text in figure.texts)


def boxes(texts):
    return [Text.get_window_extent(text) for text in texts]  # without the lines that join names to points


def test_a_plot_says_where_its_numbers_come_from():
    environments = [{**ENVIRONMENT, "commit": "abc1234"}, ENVIRONMENT]
    days = ("2026-01-02T03:04:05", "2026-01-04T00:00:00")
    pairs = zip(("none", "all"), environments, days, strict=True)
    records = [ok(name, environment=environment, started_at=day) for name, environment, day in pairs]
    footer = below(plot_run(make_frame(records), "tradeoff"))
    assert "NVIDIA H200 · JAX 0.12.0 · 2026-01-02 to 2026-01-04 · commit abc1234" in footer
    chosen = make_frame(records)
    assert "NVIDIA H200" in below(plot_run(chosen[chosen.strategy != "x"], "tradeoff"))  # a notebook's selection


def test_an_origin_that_is_not_recorded_is_left_out():
    footer = below(plot_run(make_frame([ok("none", environment=ENVIRONMENT), ok("all")]), "tradeoff"))
    assert footer.endswith("NVIDIA H200 · JAX 0.12.0")
    assert "JAX" not in below(plot_run(make_frame([ok("none"), ok("all")]), "tradeoff"))


def test_what_was_compiled_ahead_of_time_names_its_target_and_not_the_machine_that_compiled():
    assert "tpu:v5e" in below(plot_run(make_frame(RECORDS), "aot_tradeoff")).splitlines()[-1]


def test_a_comparison_has_the_origins_of_both_runs():
    base = [ok("none", round=i, environment=ENVIRONMENT) for i in range(3)]
    new = [ok("none", round=i, environment={**ENVIRONMENT, "versions": {"jax": "0.13"}}) for i in range(3)]
    footer = " ".join(below(plot_comparison(compare_runs(base, new, across=True))).split())
    assert "base: NVIDIA H200 · JAX 0.12.0" in footer and "new: NVIDIA H200 · JAX 0.13" in footer


def split_figure(forward, step):
    timed = (taken("forward_seconds", forward, forward),)
    records = [ok("none", steps=(step, step), more=timed), ok("all", steps=(2 * step, 2 * step))]
    return plot_run(make_frame(records), "time_split")


def widths(panel):
    return {
        bars.get_label(): [bar.get_width() for bar in bars] for bars in panel.containers if hasattr(bars, "patches")
    }


def test_only_a_step_whose_forward_pass_was_timed_is_split():
    (panel,) = split_figure(0.004, 0.010).axes
    assert widths(panel) == {
        time_split.FORWARD: [pytest.approx(4)],
        time_split.REST: [pytest.approx(6)],
        time_split.WHOLE: [pytest.approx(20)],
    }
    assert not panel.texts


def test_a_forward_pass_longer_than_its_step_is_flagged_and_shown_in_full():
    figure = split_figure(0.025, 0.010)
    (panel,) = figure.axes
    assert widths(panel) == {time_split.WHOLE: [pytest.approx(10), pytest.approx(20)]}
    (flag,) = [line for line in panel.get_lines() if line.get_marker() == "X"]
    assert flag.get_xdata() == pytest.approx([25]) and panel.get_xlim()[1] > 25
    assert "25.0 ms" in panel.texts[0].get_text()
    note = " ".join(below(figure).split())
    assert "contradiction" in note and "25.0 ms" in note and "10.0 ms" in note


@pytest.mark.parametrize("seed", range(4))
def test_names_cover_no_marker_and_no_other_name(seed):
    places = np.random.default_rng(seed).uniform(0.3, 0.7, (12, 2))
    figure, panel = plt.subplots()
    for i, (x, y) in enumerate(places):
        style.plot_mark(panel, i, x, y, marker="o", markersize=6)
    panel.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    wanted = [labels.Label((x, y), f"name-of-{i}") for i, (x, y) in enumerate(places)]
    missing = labels.place_labels(panel, wanted)
    figure.draw_without_rendering()
    written = boxes(panel.texts)
    assert {text.get_text() for text in panel.texts} == {one.text for one in wanted if one not in missing}
    assert len(written) > 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(written, 2))
    marks = panel.transData.transform(places)
    assert not any(box.contains(*mark) for box in written for mark in marks)
    plt.close(figure)


def test_a_legend_has_the_names_for_which_there_is_no_place():
    names = [f"every-{n}" for n in range(1, 40)]
    table = make_frame([ok("none"), *(ok(name, 3000 + i, (0.012, 0.012)) for i, name in enumerate(names))])
    figure = plot_run(table, "tradeoff")
    written = {text.get_text() for text in figure.axes[0].texts}
    (legend,) = figure.legends
    assert written & set(names) and written | {text.get_text() for text in legend.get_texts()} == {"none", *names}
    assert not plot_run(make_frame([ok("none"), ok("all", 3000)]), "tradeoff").legends


def test_panels_that_are_compared_share_axes_and_say_where_these_begin():
    records = [
        ok(case(s, depth=d), 5000 * d, (0.01 * d * f,)) for d in (2, 4) for s, f in (("none", 1), ("all", 1 + d))
    ]
    one, other = plot_run(make_frame(records), "tradeoff").axes
    assert one.get_xlim() == other.get_xlim() and one.get_ylim() == other.get_ylim()
    begins = float(re.search(r"begins at (.+)\)", one.get_ylabel())[1])
    assert begins == pytest.approx(one.get_ylim()[0], rel=0.05) and "begins" not in one.get_xlabel()


def test_panels_of_which_one_would_look_empty_share_no_axis():
    figure, (small, large) = plt.subplots(1, 2)
    small.set_xlim(0, 1)
    large.set_xlim(0, 50)
    assert not panels.share_limits([small, large], "x")
    assert small.get_xlim() == (0, 1)
    plt.close(figure)


def test_intervals_that_would_overlap_are_drawn_side_by_side():
    assert style.dodge_bars([50, 51, 52, 50], [0, 0, 0, 9], [2, 3, 4, 10])[0] == 0
    places = np.array([50, 51, 52])
    spots = places + style.dodge_bars(places, [0, 1, 1], [2, 3, 4])
    assert np.diff(np.sort(spots)).min() >= style.BAR_GAP
    assert style.dodge_bars([50, 50], [0, 5], [1, 6]) == [0, 0]


def test_lines_of_a_scaling_plot_have_intervals_side_by_side_and_names_at_their_ends():
    records = [ok(case(s, depth=d), d * 1000, (0.01, 0.02, 0.03)) for s in ("none", "all", "every-2") for d in (2, 4)]
    figure = plot_run(make_frame(records), "scaling_depth")
    time, peak = figure.axes
    ends = [bars.get_transform().transform(bars.get_segments()[-1])[0, 0] for bars in time.collections]
    assert len(ends) == 3 and np.diff(sorted(ends)).min() * 72 / figure.dpi == pytest.approx(style.BAR_GAP)
    for panel in (time, peak):
        assert {text.get_text() for text in panel.texts} == {"none", "all", "every-2"}
        heights = sorted(text.get_position()[1] for text in panel.texts)
        assert np.diff(heights).min() * panel.get_window_extent().height > 0.9 * 8 * figure.dpi / 72
    assert not figure.legends


def test_the_capacity_is_in_each_panel_and_cases_without_a_point_are_named():
    failed = record(case("every-4", target="tpu:v5e"), "timeout")
    far = [compiled(name, 1, 0.1, "tpu:v5p") for name in ("none", "all")]
    table = make_frame([*RECORDS, *far, compiled("mlp-only", 9, None), failed])
    figure = plot_run(table, "aot_tradeoff")
    assert all(any("16.0 GiB" in text.get_text() for text in panel.texts) for panel in figure.axes)
    note = " ".join(below(figure).split())
    assert "mlp-only" in note and "9.00 GiB" in note and "it was timeout" in note


def test_meshes_have_a_plot_of_their_own():
    over = [compiled(name, peak, None, "tpu:v5e:2x4", mesh="fsdp=8") for name, peak in (("none", 17), ("all", 4))]
    (panel,) = plot_run(make_frame(over), "aot_mesh").axes
    words = [text.get_text() for text in panel.get_yticklabels()]
    assert [word.split()[0] for word in words] == ["all", "none"]
    assert "12.0 GiB free" in words[0] and "1.00 GiB over" in words[1]
    plot_run(make_frame([*RECORDS, *over]), "aot_mesh")
    (alone,) = plot_run(make_frame([*RECORDS, *over]), "aot_tradeoff").axes
    assert "fsdp" not in alone.get_title()


def test_each_point_of_a_front_has_its_name():
    others = [compiled(name, peak, seconds, "gpu:h100") for name, peak, seconds in (("none", 8, 0.1), ("all", 4, 0.2))]
    (panel,) = plot_run(make_frame([*RECORDS, *others]), "aot_fronts").axes
    assert sorted(text.get_text() for text in panel.texts) == ["all", "all", "none"]


def trials(form, silent, of):
    counts = {"detected_trials": of - silent, "intact_trials": 0, "silent_trials": silent}
    taken_counts = tuple(Measurement(name, "trials", (count,), "count") for name, count in counts.items())
    return Record(FaultCase(format=form, fault="flip_bit"), 0, "ok", measurements=taken_counts)


def test_faults_have_their_trials_and_an_interval():
    (panel,) = plot_run(make_frame([trials("auto", 0, 60), trials("pickle", 30, 60)]), "faults").axes
    none, half = (text.get_text() for text in panel.texts)
    assert "0 of 60" in none and "6%" in none
    assert "30 of 60" in half and "38%" in half and "62%" in half


def saving(form, mode, seconds, size=2**20):
    names = ("blocking_seconds", "committed_seconds", "restore_seconds", "raw_write_seconds", "raw_read_seconds")
    times = tuple(taken(name, seconds * 0.9, seconds, seconds * 1.1) for name in names)
    return Record(CheckpointCase(format=form, mode=mode, size=size), 0, "ok", measurements=times)


def test_plots_of_saves_have_one_order_titles_and_intervals():
    records = [saving("orbax", "sync", 0.3), saving("auto", "sync", 0.2), saving("auto", "async", 0.1)]
    table = make_frame([*records, saving("auto", "sync", 0.4, 2**21)])
    shown = [plot_run(table, name) for name in ("latency", "efficiency", "scaling_size")]
    orders = [[text.get_text() for text in figure.axes[0].get_yticklabels()] for figure in shown[:2]]
    assert orders == [["auto, async", "auto", "orbax"]] * 2
    for figure in shown:
        assert all(panel.get_title() and panel.collections for panel in figure.axes)


def test_a_strategy_has_its_style_in_the_curve_of_segments():
    names = ["none", *(f"segments-{n}" for n in (1, 2, 4, 8))]
    table = make_frame([ok(case(name, depth=16), 3000 + 10 * i, ()) for i, name in enumerate(names)])
    styles = style.case_styles(table)
    (panel,) = plot_run(table, "segments").axes
    marks = {line.get_gid(): line for line in panel.get_lines() if line.get_gid()}
    for index, name in zip(table.index[1:], names[1:], strict=True):
        assert marks[f"mark-{index}"].get_color() == styles[name]["color"]
    assert {text.get_text() for text in panel.texts} >= set(names[1:])


def test_a_capacity_far_beyond_the_points_is_an_arrow():
    (panel,) = plot_run(make_frame([compiled("none", 1, 0.1), compiled("all", 0.5, 0.2)]), "aot_tradeoff").axes
    (words,) = [text.get_text() for text in panel.texts if "capacity" in text.get_text()]
    assert words.endswith("→") and panel.get_xlim()[1] < 16 * GIB
