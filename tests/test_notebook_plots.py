"""Plots for notebooks: each is one finished and closed figure. A plot without data is refused by name."""

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


def test_a_plot_without_data_is_refused_with_the_valid_names():
    with pytest.raises(CaseError, match=r"'segments'.* tradeoff"):
        plot_run(make_frame([record("none"), record("all")]), "segments")


def test_a_comparison_has_one_panel_per_quantity():
    found = compare_runs(run(1), run(2, time=1.3))
    figure = plot_comparison(found)
    assert [panel.get_title() for panel in figure.axes] == list(dict.fromkeys(found.quantity))


def test_changes_are_counted_by_quantity_with_their_threshold():
    failed = [record("all", "oom", round=number) for number in range(3)]
    slow = run(2, time=1.3, strategies=("none",))
    found = count_changes(compare_runs(run(1), [*slow, *failed], across=True))
    assert found.loc["step_seconds"].to_dict() == {"threshold": 0.1, "regression": 1, "same": 0}
    status = found.loc["status"].to_dict()
    assert pd.isna(status.pop("threshold")) and status == {"regression": 1, "same": 0}


def saving(name, blocking):
    taken = (
        Measurement("blocking_seconds", "seconds", (blocking, blocking), "fabricated"),
        Measurement("restore_seconds", "seconds", (0.1, 0.1), "fabricated"),
    )
    return Record(CheckpointCase(format=name), 0, "ok", measurements=taken)


def test_the_marked_interval_loses_the_least_time():
    figure = plot_intervals(make_frame([saving("auto", 0.5), saving("npz", 2.0), saving("pickle", 1.0)]), 3600)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["auto, sync", "pickle, sync", "npz, sync"]  # best first
    for line in lines:
        lost = list(line.get_ydata())
        assert line.get_markevery() == [lost.index(min(lost))]


def test_only_the_best_ways_to_save_are_plotted():
    names = ("auto", "npz", "pickle", "ocdbt", "zarr3", "zarr2", "orbax")
    found = make_frame([saving(name, 1.0 + i) for i, name in enumerate(names)])
    assert len(plot_intervals(found, 3600).axes[0].get_lines()) == SHOWN
