"""The plots that notebooks show: one at a time, finished, closed, and refused by name where there are no data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from artifex_bench.advice.plots import SHOWN, plot_intervals
from artifex_bench.core.case import CaseError, CheckpointCase
from artifex_bench.core.record import Measurement, Record
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.comparison import compare_runs, count_changes
from artifex_bench.report.plots import plot_run
from artifex_bench.report.plots.comparison import plot_comparison
from tests.build import record
from tests.report.test_comparison import run


@pytest.fixture(autouse=True)
def closed():
    yield
    assert plt.get_fignums() == []


def test_one_plot_of_a_run():
    figure = plot_run(make_frame([record("none"), record("all")]), "tradeoff")
    assert [panel.get_ylabel().split("\n")[0] for panel in figure.axes] == ["step time, x none"]


def test_a_plot_without_data_is_refused_with_those_that_have_some():
    with pytest.raises(CaseError, match="unknown plot 'segments': valid are tradeoff"):
        plot_run(make_frame([record("none"), record("all")]), "segments")


def test_ratios_of_two_runs_a_panel_a_quantity():
    found = compare_runs(run(1), run(2, time=1.3))
    figure = plot_comparison(found)
    assert [panel.get_title() for panel in figure.axes] == list(dict.fromkeys(found.quantity))


def test_changes_are_counted_by_quantity_with_their_threshold():
    fell = [record("all", "oom", round=number) for number in range(3)]
    slow = run(2, time=1.3, strategies=("none",))
    found = count_changes(compare_runs(run(1), [*slow, *fell], across=True))
    assert found.loc["step_seconds"].to_dict() == {"threshold": 0.1, "regression": 1, "same": 0}
    status = found.loc["status"].to_dict()
    assert pd.isna(status.pop("threshold")) and status == {"regression": 1, "same": 0}


def saving(name, blocking):
    taken = (
        Measurement("blocking_seconds", "seconds", (blocking, blocking), "fabricated"),
        Measurement("restore_seconds", "seconds", (0.1, 0.1), "fabricated"),
    )
    return Record(CheckpointCase(format=name), 0, "ok", measurements=taken)


def test_the_time_lost_is_least_where_it_is_marked():
    figure = plot_intervals(make_frame([saving("auto", 0.5), saving("npz", 2.0), saving("pickle", 1.0)]), 3600)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["auto, sync", "pickle, sync", "npz, sync"]  # the best first
    for line in lines:
        lost = list(line.get_ydata())
        assert line.get_markevery() == [lost.index(min(lost))]


def test_no_more_ways_to_save_than_can_be_told_apart():
    names = ("auto", "npz", "pickle", "ocdbt", "zarr3", "zarr2", "orbax")
    found = make_frame([saving(name, 1.0 + i) for i, name in enumerate(names)])
    assert len(plot_intervals(found, 3600).axes[0].get_lines()) == SHOWN
