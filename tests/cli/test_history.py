"""The command `history`: change points, its files, and wrong use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench.cli import main
from artifex_bench.core import store
from artifex_bench.core.case import CaseError, CheckpointCase
from artifex_bench.core.record import Record
from artifex_bench.report import history
from tests import browser
from tests.build import replaced
from tests.cli.test_compare import store_records
from tests.report.fabricated import READY
from tests.report.test_comparison import run

DAYS = 10
SLOWER_FROM, SMALLER_FROM = 6, 4


def make_run(day, **changes):
    """The run of a day: steps are slower from one day on, and peaks smaller from another."""
    time, memory = 1.3 if day >= SLOWER_FROM else 1.0, 0.8 if day >= SMALLER_FROM else 1.0
    records = run(day, time=time, memory=memory, **changes)
    return [replaced(one, started_at=f"2026-01-{day + 1:02d}T00:00:00") for one in records]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [store_records(root / f"day-{day}", make_run(day)) for day in range(DAYS)]


def call(*args):
    return CliRunner().invoke(main, ["history", *args])


def trace(folders):
    return history.trace_series(history.sort_runs([(one, store.load_records(Path(one))) for one in folders]))


def test_planted_changes_are_found_and_no_others(folders):
    found = {(one.label.split()[1], one.quantity): [change.run for change in one.changes] for one in trace(folders)}
    for strategy in ("none", "all"):
        assert found[strategy, "step_seconds"] == [SLOWER_FROM]
        assert found[strategy, "compiled_peak_bytes"] == [SMALLER_FROM]
        assert found[strategy, "residual_bytes"] == []


def test_noise_alone_is_no_change():
    changes = [
        change
        for seed in range(0, 5 * DAYS, DAYS)
        for one in history.trace_series([(str(i), run(seed + i)) for i in range(DAYS)])
        for change in one.changes
    ]
    assert len(changes) <= 1


def test_runs_are_sorted_by_their_date_and_values_are_those_of_each_run(folders):
    forwards, backwards = trace(folders), trace(folders[::-1])
    assert forwards == backwards
    step = next(one for one in forwards if one.quantity == "step_seconds")
    assert len(step.values) == DAYS and step.ratio == pytest.approx(1.3, rel=0.1)


def test_a_failed_case_is_a_gap():
    runs = [("a", run(1)), ("b", [replaced(one, status="failed", measurements=()) for one in run(2)]), ("c", run(3))]
    step = next(one for one in history.trace_series(runs) if one.quantity == "step_seconds")
    assert [value is None for value in step.values] == [False, True, False]


def test_it_prints_what_changed_and_writes_a_page_and_a_plot(folders, tmp_path):
    done = call(*folders, "--html", str(tmp_path / "history.html"), "--plot", str(tmp_path / "history.png"))
    assert done.exit_code == 0, done.output
    assert "day-6: 1." in done.stdout and "residual_bytes" not in done.stdout
    assert "residual_bytes" in call(*folders, "--all").stdout
    assert (tmp_path / "history.png").stat().st_size > 10_000
    text = (tmp_path / "history.html").read_text()
    assert text.count("<tr data-case") == text.count("<polyline") == 6
    assert text.count("<line") == 4  # change points
    if browser.COMMAND is None:
        pytest.skip(browser.MISSING)
    with browser.opened() as page:
        page.load(tmp_path / "history.html", READY)
        assert page.errors == [] and {url.partition(":")[0] for url in page.requests} <= {"file", "blob", "data"}


def test_without_asv_one_line_says_so(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "asv", None)
    monkeypatch.setattr(history, "DETECTOR", "no_such_package")
    done = call(*folders)
    assert done.exit_code == 0 and done.stderr.count("\n") == 1 and "no_such_package" in done.stderr
    assert "residual_bytes" in done.stdout


def test_differences_between_runs_are_listed(tmp_path):
    folders = [store_records(tmp_path / name, make_run(day, cores=day + 2)) for day, name in enumerate("ab")]
    assert "cores: 2 and 3" in call(*folders).stdout


def test_wrong_use_is_one_line(folders, tmp_path):
    one = call(folders[0])
    assert (one.exit_code, one.stderr.count("\n")) == (2, 1)
    with pytest.raises(CaseError, match="kinds"):
        history.trace_series([("a", run(1)), ("b", [Record(CheckpointCase(), 0, "failed", "no")])])
    assert call(str(tmp_path / "nothing"), folders[0]).exit_code == 2
