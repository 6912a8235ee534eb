"""The page: what stands in it, and what it does in a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from click.testing import CliRunner

from artifex_bench.advice.words import AdviceText
from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CheckpointCase, FaultCase
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.html.page import write_page
from artifex_bench.report.plots import style
from artifex_bench.report.plots.runs import COMMITTED, RESTORED, STEP_TIME
from artifex_bench.report.plots.scaling import plot_scaling
from artifex_bench.report.plots.tradeoff import plot_tradeoff
from tests import browser
from tests.build import case, measured, record, taken
from tests.report.fabricated import READY, run, written

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
    # the script, and two downloads
    assert [tag for tag, _ in Elements(text).found].count("script") == 3


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
    monkeypatch.delitem(sys.modules, "artifex_bench.report.html.page")
    monkeypatch.delattr("artifex_bench.report.html.page")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = report(stored(tmp_path / "run", run(3)))
    assert done.exit_code == 2
    assert done.stderr == "Error: --html needs jinja2: pip install 'artifex-bench[html]'\n"


def test_everything_that_takes_input_has_a_label(tmp_path):
    found = Elements(written(run(60), tmp_path / "page.html").read_text()).found
    labelled = {attributes.get("for") for tag, attributes in found if tag == "label"}
    inputs = [attributes for tag, attributes in found if tag in ("input", "select")]
    assert len(inputs) >= 2
    assert {attributes["id"] for attributes in inputs} <= labelled
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
    named = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", sheet))
    for text in ("ink", "muted", "link"):
        for ground in ("#ffffff", named["wash"]):
            assert contrast(named[text], ground) >= 4.5, text
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
    page.evaluate("document.getElementById('every').click()")
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
    page.evaluate("document.getElementById('every').focus()")
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
    assert headings[:3] == ["model", "depth", "strategy"]


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
