"""A real terminal of 80 columns: no number and no name is cut off, and progress shows case, count and time left."""

from __future__ import annotations

import re
import shutil

import pytest
from rich.cells import cell_len

from artifex_bench.cli.tables import Shown, choose_widths, select_columns
from artifex_bench.core import store
from artifex_bench.core.run_spec import RunSpec, run_spec_to_json
from artifex_bench.report.frame import load_run
from artifex_bench.report.tables import make_grids, split_tables
from tests.advice.build import SWEEP, store_run
from tests.build import case, record
from tests.cli.terminal import ROOT, run_in_terminal

RUNS = ("reference-remat-quick", "reference-remat-absent", "reference-checkpoint-quick", "reference-max-batch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("terminal")


@pytest.fixture(scope="module")
def reports(folder):
    """Name of a committed run -> (what its report prints at 80 columns, the groups of its tables)."""
    found = {}
    for name in RUNS:
        shutil.copytree(ROOT / "results" / name, folder / name)
        code, text = run_in_terminal("report", folder / name, "--no-plots", cwd=folder)
        assert code == 0, text
        suite = store.read_suite(folder / name)
        tables = split_tables(load_run(folder / name), suite)
        grids = [grid for kind, table, rows in tables for grid in make_grids(kind, table, rows)]
        found[name] = text, grids
    return found


def rows_of(text, first):
    """The cells of the line that begins with these, in each group."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines() if line.startswith(f"{first}  ")]


@pytest.mark.parametrize("name", RUNS)
def test_at_80_columns_lines_fit_and_every_cell_is_whole(reports, name):
    text, grids = reports[name]
    paths = tuple(line for line in text.splitlines() if line.startswith("/"))
    assert max(cell_len(line) for line in text.splitlines() if line not in paths) <= 80
    assert "…" not in re.sub(r"\d … \d", "", text)  # only between the ends of an interval
    assert "left out: " in text and "--wide" in text
    for grid in grids:
        for row in grid.rows:
            shown = rows_of(text, row[0])
            assert shown and all(len(cells) > 2 and set(cells) <= set(row_cells(grids, row[0])) for cells in shown)


def row_cells(grids, first):
    return [cell for grid in grids for row in grid.rows if row[0] == first for cell in row]


def test_wide_shows_all_columns_on_one_line(reports, folder):
    grids = reports[RUNS[0]][1]
    _, text = run_in_terminal("report", folder / RUNS[0], "--no-plots", "--wide", cwd=folder)
    assert "left out: " not in text
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    for grid in grids:
        assert lines.count(grid.headings) >= 1
        assert all(row in lines for row in grid.rows)


def test_names_are_not_read_as_markup_or_emoji_codes(folder):
    run = folder / "names"
    named = record(case(model="pkg:boom:[red]x"))
    store.create_run(run, run_spec_to_json(RunSpec("remat", (named.case,))))
    store.append_record(run, named)
    code, text = run_in_terminal("report", run, "--no-plots", cwd=folder)
    assert code == 0 and "pkg:boom:[red]x: depth" in text


FAKE = """
import time
from artifex_bench.cli import main
from artifex_bench.execution.executors import EXECUTORS, Executor
from tests.build import record
import artifex_bench.report.plots
artifex_bench.report.plots.write_plots = lambda *_: []
def measure(job, log):
    time.sleep(0.4)
    log.write_text("")
    return record(job.case, round=job.round)
EXECUTORS["local"] = Executor("fake", measure)
main()
"""
STRATEGIES = "none,dots_with_no_batch_dims_saveable,save_only_these_names:query+key+value"


def test_progress_shows_case_count_and_time_left(folder):
    smoke = ("run", "remat", "--preset", "smoke", "--rounds", 2, "--strategy", STRATEGIES, "--sequence", 2048)
    code, text = run_in_terminal(*smoke, "--out", folder, "--name", "progress", code=FAKE, cwd=folder)
    assert code == 0, text
    for strategy in STRATEGIES.split(","):
        for number in (1, 2):
            words = ["transformer", strategy, "depth=2", "width=32", "batch=4", "sequence=2048", "round", f"{number}/2"]
            assert re.search(r"\d/6 [-\d]:[-\d]{2}:[-\d]{2} left " + r"\s+".join(map(re.escape, words)), text)
    assert re.search(r"[1-5]/6 0:00:0\d left ", text)
    assert "6 jobs (3 cases, 2 rounds)" in text


def test_one_job_of_one_round_is_not_jobs_and_rounds(folder):
    smoke = ("run", "remat", "--preset", "smoke", "--rounds", 1, "--strategy", "none")
    _, text = run_in_terminal(*smoke, "--out", folder, "--name", "one", code=FAKE, cwd=folder)
    assert "1 job (1 case, 1 round)" in text


COLUMNS = (
    Shown("strategy", ["a_long_name_of_a_strategy"], True, 0),
    Shown("step time", ["12.3 ms"], False, 1),
    Shown("vs none", ["1.00x"], False, 1),
    Shown("95 %", ["0.90 … 1.10"], False, 2),
)


@pytest.mark.parametrize(("width", "shown"), [(80, 4), (50, 3), (40, 2), (10, 1)])
def test_columns_are_left_out_by_priority_and_then_from_the_right(width, shown):
    assert select_columns(COLUMNS, width) == [0, 1, 2, 3][:shown]


def test_a_column_is_never_narrower_than_its_longest_number_or_name():
    assert choose_widths(COLUMNS, 80) == [25, 9, 7, 11]
    assert choose_widths(COLUMNS[:2], 34) == [25, 7]
    assert choose_widths(COLUMNS[:1], 10) == [25]
    words = (Shown("case", ["three short words"], True, 0), Shown("ratio", ["1.00x"], False, 0))
    assert choose_widths(words, 13) == [6, 5]


def test_advice_exits_with_1_if_nothing_fits(folder):
    run = store_run(folder / "advice", SWEEP)
    assert [run_in_terminal("advise", run, "--memory-budget", size)[0] for size in ("60MiB", "1MiB")] == [0, 1]
