"""The page: what stands in it, and what it does in a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from artifex_bench.advice import advise
from artifex_bench.advice.words import AdviceText
from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CheckpointCase, FaultCase
from artifex_bench.core.kind import all_suites
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import RunSpec, load_run_spec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.html.about import describe_command
from artifex_bench.report.html.charts import MOST_DRAWN
from artifex_bench.report.html.page import write_page
from artifex_bench.report.plots import style
from artifex_bench.report.plots.runs import COMMITTED, RESTORED, STEP_TIME
from artifex_bench.report.plots.scaling import plot_scaling
from artifex_bench.report.plots.tradeoff import plot_tradeoff
from artifex_bench.sweep.spec import max_batch_run, new_run
from tests import browser
from tests.build import case, measured, record, replaced, taken
from tests.report.fabricated import READY, run, written

RESULTS = Path(__file__).parents[2] / "results"
CHECKPOINTS = [
    Record(
        CheckpointCase(format=form, size=size),
        0,
        "ok",
        measurements=tuple(
            taken(name, *(value * factor for factor in (0.9, 1.0, 1.1)))
            for name, value in {
                "blocking_seconds": 0.1 * k,
                "committed_seconds": 0.2 * k,
                "restore_seconds": 0.3 / k,
                "raw_write_seconds": 0.1,
                "raw_read_seconds": 0.05,
            }.items()
        ),
    )
    for k, form in enumerate(("auto", "npz"), start=1)
    for size in (2**20, 2**24)
]
FAULTS = [
    Record(FaultCase(), 0, "ok", measurements=tuple(Measurement(name, "count", (20,)) for name in OUTCOMES)),
    Record(FaultCase(fault="truncate"), 0, "failed", "it <b>fell</b>"),
]
NASTY = [record("none"), record("</script><script>alert(1)</script>", "failed", reason="</script><!--<script>")]


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def stored(folder, records, rounds=1):
    store.create_run(
        folder, run_spec.run_spec_to_json(RunSpec(records[0].case.kind, tuple(one.case for one in records), rounds))
    )
    for one in records:
        store.append_record(folder, one)
    return folder


def report(folder, *more):
    return CliRunner().invoke(main, ["report", str(folder), "--no-plots", "--html", *more])


class Rows(HTMLParser):
    """The cells of the page's table, a list for each case, as (text, data-order)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "tr" and "data-case" in attributes:
            self.found.append([])
        elif tag == "td":
            self._cell = [attributes.get("data-order"), ""]

    def handle_data(self, text):
        if self._cell:
            self._cell[1] += text

    def handle_endtag(self, tag):
        if tag == "td":
            self.found[-1].append((self._cell[1], self._cell[0]))
            self._cell = None


def unpacked(path, name):
    packed = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', path.read_text())[1]
    return gzip.decompress(base64.b64decode(packed)).decode()


@pytest.mark.parametrize(
    "records",
    [
        run(40),
        run(1),
        CHECKPOINTS,
        FAULTS,
        NASTY,
        [record("none", "failed"), record("all", "oom")],
        [record(s, measurements=measured(steps=(), peak=p)) for s, p in (("none", 9e6), ("all", 3e6))],
    ],
    ids=["remat", "one case", "checkpoint", "fault", "nasty", "all failed", "not timed"],
)
def test_every_kind_of_run_has_a_page(records, tmp_path):
    folder = stored(tmp_path / "run", records)
    done = report(folder)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(folder / "page.html") or str(folder / "page.html") in done.stdout
    table = make_frame(records)
    assert pd.read_csv(io.StringIO(unpacked(folder / "page.html", "csv"))).case.tolist() == table.case.tolist()
    rows = json.loads(unpacked(folder / "page.html", "json"))
    assert [row["case"] for row in rows] == table.case.tolist()
    assert set(rows[0]) == set(table.columns)


def test_no_word_of_a_case_becomes_markup(tmp_path):
    text = written(NASTY, tmp_path / "page.html").read_text()
    assert "<script>alert" not in text
    # the script, two downloads, and the candidates under a memory budget
    assert [tag for tag, _ in Elements(text).found].count("script") == 4


def test_the_recommendation_stands_first_and_says_what_it_rests_on(tmp_path):
    text = written(run(20), tmp_path / "page.html").read_text()
    first = re.findall(r'<section[^>]* id="([^"]+)"', text)
    assert first[:3] == ["recommendation", "tradeoff", "cases"]
    assert "Question:" in text and "1.10x" in text
    assert re.search(r'<p class="choice">\w+: <strong>\S+</strong>', text)


def test_a_run_in_which_nothing_was_timed_has_a_recommendation_too(tmp_path):
    records = [record(name, measurements=measured(steps=(), peak=peak)) for name, peak in (("none", 9e6), ("all", 4e6))]
    folder = stored(tmp_path / "run", records)
    assert report(folder).exit_code == 0
    text = (folder / "page.html").read_text()
    assert "<strong>all</strong>" in text


def test_advice_on_several_devices_tells_what_each_was_asked_for(tmp_path):
    questions = ("fits 1 GiB", "fits 2 GiB")
    advice = [AdviceText("a", question, "all", "it costs", None, "", "high", {}) for question in questions]
    text = write_page(run(3), advice, "run", tmp_path / "page.html", 0).read_text()
    assert all(text.count(question) == 1 for question in questions)


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [(["--memory-budget", "1GiB"], "1.00 GiB"), (["--time-budget", "1.5x"], "1.50x")],
)
def test_a_budget_of_ones_own(arguments, limit, tmp_path):
    folder = stored(tmp_path / "run", run(20))
    assert report(folder, *arguments).exit_code == 0
    recommendation = (folder / "page.html").read_text().partition('id="recommendation"')[2].partition("</section>")[0]
    assert limit in recommendation


def test_of_an_unfinished_run_it_says_so(tmp_path):
    folder = stored(tmp_path / "run", run(3), rounds=2)
    assert "3 jobs" in report(folder).stderr
    assert "unfinished: 3 jobs are still to be made" in (folder / "page.html").read_text()


def test_wrong_use_is_one_line(tmp_path):
    folder = stored(tmp_path / "run", run(3))
    without = CliRunner().invoke(main, ["report", str(folder), "--no-plots", "--mtbf", "4h"])
    assert without.stderr.startswith("Error: --mtbf: ") and "--html" in without.stderr
    other = report(folder, "--mtbf", "4h")
    assert "--html" in without.stderr and "--memory-budget" in other.stderr
    assert without.stderr.count("\n") == other.stderr.count("\n") == 1
    assert without.exit_code == other.exit_code == 2


def test_without_its_packages_one_line_says_what_to_install(tmp_path, monkeypatch):
    for module in ("page", "render"):
        monkeypatch.delitem(sys.modules, f"artifex_bench.report.html.{module}")
        monkeypatch.delattr(f"artifex_bench.report.html.{module}")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = report(stored(tmp_path / "run", run(3)))
    assert done.exit_code == 2
    assert done.stderr == "Error: --html needs jinja2: pip install 'artifex-bench[html]'\n"


def test_everything_that_takes_input_has_a_label(tmp_path):
    found = Elements(written(run(60), tmp_path / "page.html").read_text()).found
    labelled = {attributes.get("for") for tag, attributes in found if tag == "label"}
    inputs = [attributes for tag, attributes in found if tag in ("input", "select")]
    assert len(inputs) >= 2
    assert {attributes["id"] for attributes in inputs if "aria-label" not in attributes} <= labelled
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {attributes["aria-labelledby"] for _, attributes in found if "aria-labelledby" in attributes}
    assert named <= set(ids)


def contrast(one, other):
    """The ratio of WCAG 2.2."""

    def luminance(colour):
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast(tmp_path):
    sheet = written(run(3), tmp_path / "page.html").read_text().partition("<style>")[2].partition("</style>")[0]
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in sheet.split("@media screen"))
    assert [light[f"mark-{i}"] for i in range(len(style.COLOURS))] == [colour.lower() for colour in style.COLOURS]
    assert light.keys() == dark.keys()
    for named in (light, dark):
        for text in ("ink", "muted", "link", "chosen"):
            for ground in (named["paper"], named["wash"]):
                assert contrast(named[text], ground) >= 4.5, text
        for i in range(len(style.COLOURS)):
            assert contrast(named[f"mark-{i}"], named["paper"]) >= 3, i
    for text in (style.INK, style.MUTED, style.RECOMMENDED):
        assert contrast(text, "#ffffff") >= 4.5, text
    for mark in style.COLOURS:
        assert contrast(mark, "#ffffff") >= 3, mark


def test_every_mark_is_a_button_with_the_figures_of_its_case(tmp_path):
    found = Elements(written(run(40), tmp_path / "page.html").read_text()).found
    marks = [attributes for _, attributes in found if attributes.get("class") == "mark"]
    cases = {attributes["data-case"] for tag, attributes in found if tag == "tr" and "data-case" in attributes}
    assert {mark["data-case"] for mark in marks} == cases == {str(i) for i in range(40)}
    table = make_frame(run(40))
    for mark in marks:
        assert mark["role"] == "button" and mark["tabindex"] == "0"
        assert mark["aria-label"].startswith(f"{table.strategy[int(mark['data-case'])]}: ")
        assert re.search(r"\d m?s|\d [KMG]iB", mark["aria-label"])


def test_a_strategy_has_one_style_in_all_charts(tmp_path):
    text = written(run(40), tmp_path / "page.html").read_text()
    entries = re.findall(r'<li>(<svg class="marker".*?</svg>)([^<]+)</li>', text)
    looks = {name: {marker for marker, other in entries if other == name} for _, name in entries}
    assert len(looks) == 20 and len(entries) > 20
    assert [len(found) for found in looks.values()] == [1] * 20
    assert len(set.union(*looks.values())) == 20


def test_cells_are_sorted_by_raw_values(tmp_path):
    records = run(20)
    rows = Rows(written(records, tmp_path / "page.html").read_text()).found
    table = make_frame(records)
    assert [float(cells[1][1]) for cells in rows] == pytest.approx(table.step_seconds.tolist(), rel=1e-5)
    assert [float(cells[4][1]) for cells in rows] == pytest.approx(table.compiled_peak_bytes.tolist(), rel=1e-5)
    assert rows[0][3] == ("–", "")  # the interval of none: no value, which is sorted last
    assert rows[0][0][1] is None


# In a browser.

needs_chromium = pytest.mark.skipif(browser.COMMAND is None, reason=browser.MISSING)
ROWS = "[...document.querySelectorAll('#table tbody tr:not([hidden])')]"
SHOWN = (
    "(() => { const at = [...document.querySelectorAll('#table thead th')].findIndex(one => "
    f"one.textContent.startsWith('strategy')); return {ROWS}.map(row => "
    "row.cells[at].textContent.replace(' *', '')) })()"
)
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of 40 cases in two shapes, opened; the tests leave it as they found it."""
    path = written(run(40), tmp_path_factory.mktemp("page") / "page.html")
    with browser.opened() as found:
        found.size(1300, 900)
        found.load(path, READY)
        yield found
        assert found.errors == []
        assert {url.partition(":")[0] for url in found.requests} <= {"file", "blob", "data"}


@needs_chromium
def test_it_loads_without_an_error_and_asks_no_host_for_anything(page):
    assert page.errors == []
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "blob", "data"}
    assert page.evaluate("document.querySelectorAll('#tradeoff .plot:not([hidden]) .mark').length") == 20
    assert page.evaluate(COUNT) == "40 cases"


@needs_chromium
def test_it_could_not_ask_a_host(page):
    blocked = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'asked', error => error.message)")
    assert "Failed to fetch" in blocked
    assert any("Content Security Policy" in error for error in page.errors)
    page.errors.clear()
    page.requests[:] = [url for url in page.requests if not url.startswith("http://127.0.0.1:9/")]


@needs_chromium
def test_the_filter_by_keyboard(page):
    page.evaluate("document.getElementById('filter').focus()")
    page.type("nested-16")
    assert page.evaluate(SHOWN) == ["nested-16", "nested-16"]
    assert page.evaluate(COUNT) == "2 of 40 cases"
    page.evaluate("document.getElementById('filter').select()")
    page.key("Backspace", 8)
    assert page.evaluate(COUNT) == "40 cases"


@needs_chromium
def test_sorting_by_keyboard_goes_by_the_quantity_and_back(page):
    heading = "[...document.querySelectorAll('#table thead th')].find(one => one.textContent.startsWith('step time'))"
    order = f"{ROWS}.map(row => Number(row.cells[{heading}.cellIndex].dataset.order))"
    before = page.evaluate(SHOWN)
    page.evaluate(f"{heading}.querySelector('button').focus()")
    for expected in ("ascending", "descending"):
        page.key("Enter", 13, "\r")
        assert page.evaluate(f"{heading}.getAttribute('aria-sort')") == expected
        found = page.evaluate(order)
        assert found == sorted(found, reverse=expected == "descending")
        assert len(set(found)) > 20
    page.key("Enter", 13, "\r")
    assert page.evaluate(f"{heading}.hasAttribute('aria-sort')") is False
    assert page.evaluate(SHOWN) == before


@needs_chromium
def test_what_was_not_measured_is_sorted_last(page):
    heading = "[...document.querySelectorAll('#table thead th')].find(one => one.textContent.startsWith('95 %'))"
    click = f"{heading}.querySelector('button').click()"
    for _ in range(2):
        page.evaluate(click)
        cells = page.evaluate(f"{ROWS}.map(row => row.cells[{heading}.cellIndex].textContent)")
        assert cells[-2:] == ["–", "–"] and "–" not in cells[:-2]
    page.evaluate(click)


MARK = "document.querySelector('#tradeoff .plot:not([hidden]) .mark[data-case=\"{}\"]')"
TOOLTIP = "document.getElementById('tooltip')"
DIMMED = "document.querySelectorAll('.mark.dimmed').length"


def middle(page, case):
    """Where the mark of a case is on the screen."""
    page.evaluate("document.getElementById('tradeoff').scrollIntoView()")
    return page.evaluate(
        f"(() => {{ const box = {MARK.format(case)}.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2] })()"
    )


@needs_chromium
def test_pointing_at_a_mark_shows_the_figures_of_its_case(page):
    assert page.evaluate(f"{TOOLTIP}.hidden")
    page.mouse(*middle(page, 1))
    page.wait(f"!{TOOLTIP}.hidden")
    told = page.evaluate(f"{TOOLTIP}.innerText")
    cells = page.evaluate("[...document.querySelector('tr[data-case=\"1\"]').cells].map(cell => cell.textContent)")
    assert told.splitlines()[0] == "all"
    assert {cell for cell in cells if cell not in told} <= {"all *", "–"}
    page.mouse(5, 5)
    page.wait(f"{TOOLTIP}.hidden")


@needs_chromium
def test_a_click_on_a_mark_filters_the_table_and_the_marks(page):
    at = middle(page, 1)
    page.mouse(*at, click=True)
    page.wait(f"{COUNT} === '1 of 40 cases'")
    assert page.evaluate(SHOWN) == ["all"]
    assert page.evaluate(f"{MARK.format(1)}.getAttribute('aria-pressed')") == "true"
    assert page.evaluate("[...document.querySelectorAll('.mark:not(.dimmed)')].every(one => one.dataset.case === '1')")
    assert page.evaluate(DIMMED) > 0
    page.mouse(*at, click=True)  # a second click shows all again
    page.wait(f"{COUNT} === '40 cases'")
    assert page.evaluate(DIMMED) == 0
    page.mouse(*at, click=True)
    page.wait(f"{COUNT} === '1 of 40 cases'")
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate(COUNT) == "40 cases"
    page.mouse(5, 5)


@needs_chromium
def test_the_filter_by_text_filters_the_marks(page):
    page.evaluate("document.getElementById('filter').focus()")
    page.type("nested-16")
    names = "[...document.querySelectorAll('.mark:not(.dimmed)')].map(one => one.getAttribute('aria-label'))"
    assert {name.partition(":")[0] for name in page.evaluate(names)} == {"nested-16"}
    page.key("Escape", 27)
    assert page.evaluate(COUNT) == "40 cases" and page.evaluate(DIMMED) == 0


@needs_chromium
def test_marks_by_keyboard(page):
    page.evaluate("document.getElementById('tradeoff-which').focus()")
    page.key("Tab", 9)  # the link over the chart
    assert page.evaluate("document.activeElement.className") == "skip"
    page.key("Tab", 9)
    focused = page.evaluate("document.activeElement.dataset.case")
    assert page.evaluate(f"document.activeElement === {MARK.format(focused)}")
    page.wait(f"!{TOOLTIP}.hidden")
    page.key("Tab", 9)
    assert page.evaluate("document.activeElement.dataset.case") != focused
    focused = page.evaluate("document.activeElement.dataset.case")
    page.key("Enter", 13, "\r")
    assert page.evaluate(COUNT) == "1 of 40 cases"
    assert page.evaluate(f"{ROWS}.map(row => row.dataset.case)") == [focused]
    assert page.evaluate("document.activeElement.dataset.case") == focused
    page.key("Escape", 27)
    assert page.evaluate(COUNT) == "40 cases" and page.evaluate(DIMMED) == 0
    assert page.evaluate(f"{TOOLTIP}.hidden")
    page.key(" ", 32, " ")
    assert page.evaluate(COUNT) == "1 of 40 cases"
    page.evaluate("document.getElementById('clear').focus()")
    page.key("Enter", 13, "\r")
    assert page.evaluate(COUNT) == "40 cases"


@needs_chromium
def test_a_chart_can_be_skipped(page):
    page.evaluate("document.querySelector('#tradeoff .skip').focus()")
    page.key("Enter", 13, "\r")
    page.key("Tab", 9)
    assert page.evaluate("document.activeElement.id") == "filter"


@needs_chromium
def test_another_shape_is_shown(page):
    marks = "[...document.querySelectorAll('#tradeoff .mark')]"
    shown = f"{marks}.filter(mark => mark.checkVisibility()).map(mark => mark.dataset.case)"
    first = page.evaluate(shown)
    choose = "(() => {{ const s = document.getElementById('tradeoff-which'); s.value = '{}';"
    choose += "s.dispatchEvent(new Event('change')) }})()"
    page.evaluate(choose.format(1))
    second = page.evaluate(shown)
    assert sorted(map(int, first + second)) == list(range(40)) and first and second
    page.evaluate(choose.format(0))
    assert page.evaluate(shown) == first


@needs_chromium
def test_scaling_has_a_panel_for_each_quantity(page):
    panels = "[...document.querySelectorAll('#scaling-depth .plot:not([hidden]) svg.figure')]"
    assert page.evaluate(f"{panels}.map(one => one.querySelectorAll('.mark').length)") == [40, 40]


@needs_chromium
@pytest.mark.parametrize("form", ["csv", "json"])
def test_downloads_hold_the_table(page, form, tmp_path):
    page.download_to(tmp_path)
    page.evaluate(f"document.querySelector('[data-packed={form}]').click()")
    path = tmp_path / f"fabricated.{form}"
    while not path.exists() or not path.stat().st_size:  # Chromium begins with an empty file, which it replaces
        page.wait("true")
    table = pd.read_csv(path) if form == "csv" else pd.DataFrame(json.loads(path.read_text()))
    expected = make_frame(run(40))
    assert table.case.tolist() == expected.case.tolist()
    assert table.step_seconds.tolist() == expected.step_seconds.tolist()


@needs_chromium
def test_everything_that_acts_is_reached_by_tab(page):
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    wanted = "#filter, #table thead button, select, .plot:not([hidden]) .mark, .button, summary, nav a"
    total = page.evaluate(f"document.querySelectorAll('{wanted}').length")
    seen = page.evaluate("window.reached = new Set(), 0")
    for _ in range(total + 20):
        page.key("Tab", 9)
        seen = page.evaluate(
            f"(reached.add(document.activeElement), [...document.querySelectorAll('{wanted}')].filter(one => "
            "reached.has(one)).length)"
        )
        if seen == total:
            break
    assert seen == total


@needs_chromium
def test_a_narrow_screen_needs_no_scrolling_sideways(tmp_path):
    path = written(run(40), tmp_path / "page.html")
    with browser.opened() as found:
        found.size(400, 800)
        found.load(path, READY)
        assert found.evaluate("document.documentElement.scrollWidth") == 400
        assert found.errors == []


@needs_chromium
def test_many_cases_are_told_in_pages(tmp_path):
    path = written(run(60), tmp_path / "page.html")
    with browser.opened() as found:
        found.size(1300, 900)
        found.load(path, READY)
        assert found.evaluate(f"{ROWS}.length") == 50
        found.evaluate("document.querySelector('#next').click()")
        found.wait(f"{ROWS}.length === 10")
        found.evaluate("document.querySelector('#previous').click()")
        found.evaluate("dispatchEvent(new Event('beforeprint'))")  # on paper no row is left out
        found.wait(f"{ROWS}.length === 60")
        found.evaluate("dispatchEvent(new Event('afterprint'))")
        found.wait(f"{ROWS}.length === 50")
        assert found.errors == []


@needs_chromium
def test_no_word_of_a_case_becomes_markup_in_the_table(tmp_path):
    path = written(NASTY, tmp_path / "page.html")
    with browser.opened() as found:
        found.load(path, READY)
        assert found.evaluate(SHOWN) == [one.case.strategy for one in NASTY]
        assert found.errors == []


def test_a_verdict_is_shown(tmp_path):
    told = record("all", verdict=Verdict("no-op", "nothing is recomputed"))
    rows = Rows(written([record("none"), told], tmp_path / "page.html").read_text()).found
    assert "no-op" in [words for words, _ in rows[1]]


def test_the_axes_that_tell_shapes_apart_are_columns(tmp_path):
    mlp = {"model": "mlp", "sequence": None, "heads": None}
    records = [record(case(s, **more)) for s in ("none", "all") for more in ({}, mlp, {"depth": 9})]
    text = written(records, tmp_path / "page.html").read_text()
    headings = re.findall(r'<th scope[^>]*><button type="button">([^<]+)</button></th>', text)
    assert headings[:3] == ["strategy", "model", "depth"]


@pytest.mark.parametrize("values", [(32.1, 32.1), (32.05, 32.15), (7, 16), (1, 1000)])
def test_a_logarithmic_axis_has_a_number_within_reach(values):
    table = make_frame(CHECKPOINTS).iloc[: len(values)].assign(restore_seconds=values, committed_seconds=values)
    _, panel = style.plt.subplots()
    plot_tradeoff(panel, table, RESTORED, COMMITTED, set(), style.case_styles(table), log=True)
    for axis in (panel.xaxis, panel.yaxis):
        low, high = axis.get_view_interval()
        assert any(low <= tick <= high for tick in axis.get_majorticklocs())
        assert low <= min(values) and max(values) <= high
    style.plt.close("all")


def test_ticks_that_would_overlap_are_left_out():
    table = make_frame(
        [record(case(s, depth=d), measurements=measured()) for s in ("none", "all") for d in (1, 4, 93, 97)]
    )
    _, panel = style.plt.subplots()
    plot_scaling(panel, table, "depth", STEP_TIME, style.case_styles(table))
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "93"]
    style.plt.close("all")


# The budget, views, colours and paper.

BUDGETS = [2**exponent * 3 // 2 for exponent in range(12, 42)]


def read_live(found):
    """What the page recommends for the memory budget: (choice, level of confidence) of each group."""
    return found.evaluate(
        "[...document.querySelectorAll('#live article')].map(one => "
        "[one.querySelector('.choice strong')?.textContent ?? null, one.dataset.level ?? null])"
    )


def set_budget(found, budget):
    found.evaluate(
        f"(() => {{ const one = document.getElementById('budget-size'); one.value = '{budget}';"
        "one.dispatchEvent(new Event('input')) })()"
    )


@needs_chromium
@pytest.mark.parametrize("source", ["fabricated", "aot", "not timed", "one case"])
def test_the_budget_in_the_page_and_advise_agree(source, tmp_path):
    untimed = [record(s, measurements=measured(steps=(), peak=p)) for s, p in (("none", 9e6), ("all", 3e6))]
    fabricated = [one for one in run(45) if one.case.strategy != "every-64"]
    fabricated[3] = record(fabricated[3].case, "oom")
    folders = {"fabricated": fabricated, "not timed": untimed, "one case": run(1)}
    records = store.load_records(RESULTS / "reference-remat-absent") if source == "aot" else folders[source]
    folder = stored(tmp_path / "run", records)
    options = [] if source in ("aot", "not timed") else ["--time-budget", "1.1x"]
    assert report(folder, *options).exit_code == 0
    frame = make_frame(records)
    peaks = [int(peak) for peak in frame.needed_peak_bytes.dropna().unique()[:20]]
    with browser.opened() as found:
        found.load(folder / "page.html", READY)
        chosen = set()
        for budget in [*BUDGETS, *peaks, *(peak - 1 for peak in peaks)]:
            set_budget(found, budget)
            expected = [
                [one.choice and one.choice.name, one.confidence and one.confidence.level.value]
                for one in advise(frame, memory_budget=budget)
            ]
            assert read_live(found) == expected, budget
            chosen |= {name for name, _ in map(tuple, expected)}
        assert len(chosen) > (0 if source == "one case" else 1)
        found.evaluate("document.getElementById('budget-clear').click()")
        assert found.evaluate("document.getElementById('live').hidden && !document.getElementById('answers').hidden")
        assert found.errors == []


@needs_chromium
def test_the_slider_sets_the_budget_and_a_wrong_one_is_refused(tmp_path):
    folder = stored(tmp_path / "run", run(20))
    report(folder)
    with browser.opened() as found:
        found.load(folder / "page.html", READY)
        slide = "(() => { const one = document.getElementById('budget-slider'); one.value = %d;"
        slide += "one.dispatchEvent(new Event('input')) })()"
        found.evaluate(slide % 0)
        assert read_live(found)[0][0] is None  # nothing fits
        found.evaluate(slide % 1000)
        assert read_live(found)[0][0] is not None
        for wrong in ("8", "much", "-3MiB"):
            set_budget(found, wrong)
            assert found.evaluate("document.getElementById('live').hidden")
            assert found.evaluate("document.getElementById('budget-error').textContent") != ""


def pick(found, heading, value):
    found.evaluate(
        f"(() => {{ const one = [...document.querySelectorAll('.pair')].find(pair => pair.textContent.trim()"
        f".startsWith('{heading}')).querySelector('select'); one.value = '{value}';"
        "one.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


@needs_chromium
def test_filters_compose_and_clear(page):
    pick(page, "depth", "4")
    assert page.evaluate(COUNT) == "20 of 40 cases"
    pick(page, "strategy", "all")
    assert page.evaluate(COUNT) == "1 of 40 cases"
    page.evaluate("document.getElementById('filter').focus()")
    page.type("none")
    assert page.evaluate(COUNT) == "0 of 40 cases"
    assert page.evaluate("document.getElementById('clear').checkVisibility()")
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate(COUNT) == "40 cases" and page.evaluate(DIMMED) == 0
    assert page.evaluate("document.getElementById('clear').hidden")


@needs_chromium
def test_a_link_opens_a_view(tmp_path):
    folder = stored(tmp_path / "run", run(40))
    report(folder)
    with browser.opened() as found:
        found.load(folder / "page.html", READY)
        pick(found, "strategy", "all")
        found.evaluate("document.getElementById('filter').focus()")
        found.type("4")
        set_budget(found, "1GiB")
        found.evaluate(
            "(() => { const s = document.getElementById('tradeoff-which'); s.value = '1';"
            "s.dispatchEvent(new Event('change')) })()"
        )
        found.evaluate("document.querySelectorAll('#table thead button')[2].click()")
        found.wait("location.hash.includes('tradeoff-which=1') && location.hash.includes('sort=2a')")
        link, seen = found.evaluate("location.hash"), found.evaluate(SHOWN)
        found("Page.navigate", url="about:blank")
        found("Page.navigate", url=(folder / "page.html").resolve().as_uri() + link)
        found.wait(READY)
        assert found.evaluate(SHOWN) == seen != []
        assert found.evaluate("document.getElementById('budget-size').value") == "1GiB"
        assert found.evaluate("document.getElementById('tradeoff-which').value") == "1"
        assert not found.evaluate("document.getElementById('live').hidden")
        found.evaluate("document.getElementById('clear').click(), document.getElementById('budget-clear').click()")
        assert found.evaluate(COUNT) == "40 cases"
        assert found.errors == []


@needs_chromium
def test_dark_mode_reaches_the_figures(page):
    colours = "[document.body, document.querySelector('svg.figure path'), document.querySelector('svg.figure text')]"
    read = f"{colours}.map((one, i) => getComputedStyle(one)[i ? 'fill' : 'backgroundColor'])"
    light = page.evaluate(read)
    page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.evaluate(read)
    page("Emulation.setEmulatedMedia", features=[])
    assert light[0] == light[1] == "rgb(255, 255, 255)"
    assert dark[0] == dark[1] == "rgb(20, 24, 29)" and dark[2] != light[2]


@needs_chromium
def test_every_shape_prints(page):
    shown = "[...document.querySelectorAll('.plot')].filter(one => one.checkVisibility()).length"
    total = page.evaluate("document.querySelectorAll('.plot').length")
    assert page.evaluate(shown) < total
    page("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate(shown) == total
    page("Emulation.setEmulatedMedia", media="")


@needs_chromium
def test_the_name_of_a_case_stays_in_view(tmp_path):
    path = written(run(40), tmp_path / "page.html")
    with browser.opened() as found:
        found.size(400, 800)
        found.load(path, READY)
        left = "document.querySelector('#table tbody td.frozen').getBoundingClientRect().left"
        before = found.evaluate(left)
        found.evaluate("document.getElementById('table').parentElement.scrollBy(300, 0)")
        assert abs(found.evaluate(left) - before) < 2


def test_further_figures_of_a_chart_are_tables_of_their_values(tmp_path):
    shapes = MOST_DRAWN + 2
    records = [record(case(s, batch=b), measurements=measured()) for b in range(1, shapes + 1) for s in ("none", "all")]
    text = written(records, tmp_path / "page.html").read_text()
    chart = text.partition('id="tradeoff"')[2].partition("</section>")[0]
    assert chart.count('class="plot"') == shapes
    assert chart.count('<svg viewBox="0 0') == MOST_DRAWN and chart.count('<table class="values"') == 2


# Runs of other kinds, and what the page says about a run.


def test_searches_have_a_page(tmp_path):
    shutil.copytree(RESULTS / "reference-max-batch", tmp_path / "run")
    done = report(tmp_path / "run")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "run" / "page.html").read_text()
    searches = pd.read_csv(tmp_path / "run" / "max_batch.csv")
    heat = text.partition('class="values heat"')[2].partition("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]+)</th>', heat) == searches.strategy.tolist()
    assert re.findall(r"%\">(\d+)</td>", heat) == [f"{batch:.0f}" for batch in searches.largest_batch]
    refused = report(tmp_path / "run", "--memory-budget", "8GiB")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_faults_have_a_heatmap(tmp_path):
    folder = stored(tmp_path / "run", FAULTS)
    assert report(folder).exit_code == 0
    text = (folder / "page.html").read_text()
    heat = text.partition('class="values heat"')[2].partition("</table>")[0]
    assert "20 of 60" in heat and ">failed<" in heat


def test_reasons_are_in_the_open(tmp_path):
    records = [record("none", "oom", reason="asked for 9 GiB"), record("all", "oom", reason="asked for 9 GiB")]
    folder = stored(tmp_path / "run", records)
    assert report(folder).exit_code == 0
    text = (folder / "page.html").read_text()
    failures = text.partition('<section id="failures"')[2].partition("</section>")[0]
    assert "<details" not in failures and failures.count("asked for 9 GiB") == 1 and "none; all" in failures
    assert "Every case failed: out of memory" in text and 'class="choice"' not in text


def test_one_case_is_not_recommended(tmp_path):
    folder = stored(tmp_path / "run", run(1))
    assert report(folder).exit_code == 0
    assert 'class="choice"' not in (folder / "page.html").read_text()


@pytest.mark.parametrize("preset", ["quick", None])
def test_the_page_says_how_to_repeat_the_run(preset, tmp_path):
    kind, suite = all_suites()["remat"]
    grid = {"model": "mlp", "strategy": ("none", "all"), "depth": (2, 3), "width": 64}
    cases = kind.expand(kind, suite.presets["quick"] if preset else (grid,), {})
    spec = RunSpec("remat", cases, rounds=3, steps=7, memory_limit=2**30)
    command = describe_command(spec)
    assert command is not None
    words = shlex.split(command)
    options = dict(zip(words[3::2], words[4::2], strict=True))
    parsed = main.commands["run"].get_command(None, "remat").make_context("remat", words[3:]).params
    again = new_run("remat", {**parsed, "out": tmp_path, "name": "again"})[1]
    assert set(again.cases) == set(cases) and replaced(again, cases=cases) == spec
    assert ("--preset" in options) == bool(preset)
    odd = RunSpec("remat", (case("none", depth=2), case("all", depth=3)))
    assert describe_command(odd) is None


def test_the_page_of_searches_says_how_to_repeat_them(tmp_path):
    spec = load_run_spec(RESULTS / "reference-max-batch")
    command = describe_command(spec)
    assert command is not None
    words = shlex.split(command)
    parsed = main.commands["max-batch"].make_context("max-batch", words[2:]).params
    again = max_batch_run({**parsed, "out": tmp_path, "name": "again"})[1]
    assert again == spec


def test_settings_and_environment_are_in_the_page(tmp_path):
    folder = stored(tmp_path / "run", run(20), rounds=1)
    report(folder)
    text = (folder / "page.html").read_text().partition('<section id="run"')[2].partition("</section>")[0]
    found = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", text))
    assert (found["suite"], found["rounds"], found["device"], found["commit"]) == (
        "remat",
        "1",
        "fabricated",
        "not recorded",
    )
