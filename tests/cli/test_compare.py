"""The command `compare`: its formats, its exit codes, and wrong use."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from click.testing import CliRunner

from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.case_names import case_label
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.report.comparison import list_quantities
from tests import browser
from tests.build import case, replaced
from tests.report.fabricated import READY
from tests.report.test_comparison import run


def store_records(folder, records, rounds=3):
    cases = tuple(dict.fromkeys(record.case for record in records))
    store.create_run(folder, run_spec.run_spec_to_json(RunSpec("remat", cases, rounds=rounds)))
    for one in records:
        store.append_record(folder, one)
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    runs = {"base": run(1), "slow": run(2, time=1.3), "equal": run(3)}
    return [store_records(tmp_path / name, records) for name, records in runs.items()]


def call(*args):
    return CliRunner().invoke(main, ["compare", *args])


def test_what_is_not_compared_is_listed(folders, tmp_path):
    base, *_ = folders
    part = tmp_path / "part"
    store.create_run(part, run_spec.run_spec_to_json(RunSpec("remat", (case("none"), case("all")), rounds=3)))
    for found in run(1, strategies=("none",)):
        store.append_record(part, found)
    shown = call(base, str(part))
    assert str(part) in shown.stderr and "3 jobs" in shown.stderr
    assert case_label(case("all")) in shown.output
    assert case_label(case("all")) in call(base, str(part), "--format", "json").stderr


def test_ci_fails_on_a_regression_alone(folders):
    base, slow, equal = folders
    shown = call(base, slow, "--fail-on", "regression")
    assert shown.exit_code == 1, shown.output
    assert case_label(case("all")) in shown.output and "1.3" in shown.output and "regression" in shown.output
    assert call(base, slow).exit_code == 0
    assert call(base, equal, "--fail-on", "unsure").exit_code == 0


def test_as_data_it_is_whole(folders):
    base, slow, _ = folders
    rows = json.loads(call(base, slow, "--format", "json").output)
    table = pd.read_csv(io.StringIO(call(base, slow, "--format", "csv").output))
    assert len(rows) == len(table) == 2 * 3
    assert {row["quantity"] for row in rows} <= set(list_quantities(load_kind("remat")))
    assert {row["change"] for row in rows} == {"regression", "same"}
    assert {row["reason"] for row in rows} == {"significant", "within-threshold"}
    assert "| regression" in call(base, slow, "--format", "markdown").output


def test_the_ratios_are_drawn(folders, tmp_path):
    for name in ("ratios.png", "ratios.svg"):
        done = call(*folders[:2], "--plot", str(tmp_path / name))
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).stat().st_size > 10_000


def test_the_page_has_every_row_and_loads_without_a_request(folders, tmp_path):
    path = tmp_path / "compare.html"
    done = call(*folders[:2], "--html", str(path))
    assert done.exit_code == 0, done.output
    text = path.read_text()
    assert text.count("<tr data-case") == 2 * 3 and text.count('<svg class="cell"') == 2 * 3
    assert "regression" in text.partition("<tbody>")[2].partition("</tr>")[0]  # what is worse comes first
    if browser.COMMAND is None:
        pytest.skip(browser.MISSING)
    with browser.opened() as page:
        page.load(path, READY)
        page.evaluate(
            "(() => { const one = [...document.querySelectorAll('.facet')].at(-1); one.value = 'regression';"
            "one.dispatchEvent(new Event('input')) })()"
        )
        assert page.evaluate("document.getElementById('count').textContent") == "2 of 6 rows"
        assert page.errors == [] and {url.partition(":")[0] for url in page.requests} <= {"file", "blob", "data"}


def test_a_page_that_cannot_be_written_is_one_clear_line(folders, tmp_path):
    done = call(*folders[:2], "--html", str(tmp_path / "missing" / "compare.html"))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and "--html" in done.stderr


@pytest.mark.parametrize(("file", "why"), [("ratios.bmp", "must end in"), ("missing/ratios.png", "cannot be written")])
def test_a_plot_that_cannot_be_made_is_one_clear_line(folders, tmp_path, file, why):
    done = call(*folders[:2], "--plot", str(tmp_path / file))
    assert done.exit_code == 2
    assert why in done.stderr and len(done.stderr.splitlines()) == 1


def test_nothing_to_draw_is_one_clear_line(tmp_path, folders):
    failed = [replaced(r, status="failed", reason="no", measurements=()) for r in run(1)]
    folder = store_records(tmp_path / "failed", failed)
    done = call(folder, folder, "--plot", str(tmp_path / "ratios.png"))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_what_is_the_same_is_shown_when_asked(folders):
    base, _, equal = folders
    assert call(base, equal).output.count("residual_bytes") == 0
    assert call(base, equal, "--all").output.count("residual_bytes") == 2


@pytest.mark.parametrize("text", ["step_seconds", "step_seconds=fast", "step_seconds=-1", "step_seconds=nan"])
def test_what_is_no_threshold_is_one_clear_line(folders, text):
    refused = call(*folders[:2], "--threshold", text)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "--threshold" in refused.stderr and repr(text) in refused.stderr
