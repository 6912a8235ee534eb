"""The page: what stands in it, and what it does in a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import re
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from click.testing import CliRunner

from artifex_bench.advice.choice import Advice
from artifex_bench.cli import main
from artifex_bench.core import run_spec, store, units
from artifex_bench.core.case import CheckpointCase, FaultCase
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import look
from artifex_bench.report import page as page_module
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


def embedded(path):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])


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
    # the data, the script, and what they unpack: two libraries, two downloads
    assert [tag for tag, _ in Elements(text).found].count("script") == 6


def test_the_recommendation_stands_first_and_says_what_it_rests_on(tmp_path):
    text = written(run(20), tmp_path / "page.html").read_text()
    first = re.findall(r'<section[^>]* id="([^"]+)"', text)
    assert first[:3] == ["recommendation", "tradeoff", "cases"]
    assert "Asked for: the least memory with a step of 1.10x that of none at most." in text
    assert re.search(r"Take <strong>\S+</strong>", text)


def test_a_run_in_which_nothing_was_timed_has_a_recommendation_too(tmp_path):
    records = [record(name, measurements=measured(steps=(), peak=peak)) for name, peak in (("none", 9e6), ("all", 4e6))]
    folder = stored(tmp_path / "run", records)
    assert report(folder).exit_code == 0
    text = (folder / "page.html").read_text()
    assert "Asked for: the least memory." in text and "Take <strong>all</strong>" in text


def test_advice_on_several_devices_tells_what_each_was_asked_for(tmp_path):
    told = [Advice("a", f"it fits {size}", "all", "it costs", None, "", "certain", {}) for size in ("1 GiB", "2 GiB")]
    text = page_module.write(run(3), told, "run", tmp_path / "page.html", 0).read_text()
    assert text.count("Asked for: it fits") == 2


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["--memory-budget", "1GiB"], "the fastest with a peak of 1.00 GiB at most, compiled and measured"),
        (["--time-budget", "1.5x"], "the least memory with a step of 1.50x that of none at most"),
    ],
)
def test_a_budget_of_ones_own(arguments, question, tmp_path):
    folder = stored(tmp_path / "run", run(20))
    assert report(folder, *arguments).exit_code == 0
    assert question in (folder / "page.html").read_text()


def test_of_an_unfinished_run_it_says_so(tmp_path):
    folder = stored(tmp_path / "run", run(3), rounds=2)
    assert "3 jobs" in report(folder).stderr
    assert "unfinished: 3 jobs are still to be made" in (folder / "page.html").read_text()


def test_wrong_use_is_one_line(tmp_path):
    folder = stored(tmp_path / "run", run(3))
    without = CliRunner().invoke(main, ["report", str(folder), "--no-plots", "--mtbf", "4h"])
    assert without.stderr.startswith("Error: --mtbf: ") and "--html" in without.stderr
    other = report(folder, "--mtbf", "4h")
    assert other.stderr.startswith("Error: --mtbf: means nothing to a remat run")
    assert without.exit_code == other.exit_code == 2


def test_without_its_packages_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "artifex_bench.report.page")
    monkeypatch.delattr("artifex_bench.report.page")
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
    style = written(run(3), tmp_path / "page.html").read_text().partition("<style>")[2].partition("</style>")[0]
    named = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style))
    for text in ("ink", "muted", "link"):
        for ground in ("#ffffff", named["wash"]):
            assert contrast(named[text], ground) >= 4.5, text
    for text in (look.INK, look.MUTED, look.FRONT, look.CHOSEN):
        assert contrast(text, "#ffffff") >= 4.5, text
    for line in look.LINES:
        assert contrast(line, "#ffffff") >= 3, line


# In a browser.

needs_chromium = pytest.mark.skipif(browser.COMMAND is None, reason=browser.MISSING)
ROWS = "[...document.querySelectorAll('#table tbody tr')]"
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
    page.wait("document.querySelectorAll('#tradeoff-plot .scatterlayer .point').length > 0")
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
    words = f"{ROWS}.map(row => [...row.cells].find(cell => / m?s$/.test(cell.textContent)).textContent)"
    heading = "[...document.querySelectorAll('#table thead th')].find(one => one.textContent.startsWith('step time'))"
    before = page.evaluate(SHOWN)
    page.evaluate(f"({heading}.querySelector('[tabindex]') ?? {heading}).focus()")
    for expected in ("ascending", "descending"):
        page.key("Enter", 13, "\r")
        page.wait(f"{heading}.getAttribute('aria-sort') === '{expected}'")
        found = [units.parse_amount(one) for one in page.evaluate(words)]
        assert found == sorted(found, reverse=expected == "descending")
        assert len(set(found)) > 20
    page.key("Enter", 13, "\r")
    page.wait(f"!['ascending', 'descending'].includes({heading}.getAttribute('aria-sort'))")
    assert page.evaluate(SHOWN) == before


@needs_chromium
def test_pointing_at_a_case_tells_it_and_a_click_shows_it_alone(page):
    page.evaluate("document.getElementById('tradeoff').scrollIntoView()")
    point = "[...document.querySelectorAll('#tradeoff-plot .scatterlayer .trace')].at(-1).querySelector('.point')"
    page.wait(f"!!{point}")
    at = page.evaluate(
        f"(() => {{ const box = {point}.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2] })()"
    )
    page.mouse(*at)
    page.wait("document.querySelector('#tradeoff-plot .hoverlayer').textContent.includes('peak (compiled): ')")
    page.mouse(*at, click=True)
    page.wait(f"{COUNT} === '1 of 40 cases'")
    (name,) = page.evaluate(SHOWN)
    assert name in page.evaluate("document.querySelector('#tradeoff-plot .hoverlayer').textContent")
    page.evaluate("document.getElementById('every').click()")
    assert page.evaluate(COUNT) == "40 cases"


@needs_chromium
def test_the_same_by_keyboard(page):
    page.evaluate(
        "[...document.querySelectorAll('#tradeoff .cases button')].find(b => b.textContent === 'all').focus()"
    )
    page.key("Enter", 13, "\r")
    page.wait(f"{COUNT} === '1 of 40 cases'")
    assert page.evaluate(SHOWN) == ["all"]
    page.evaluate("document.getElementById('every').focus()")
    page.key("Enter", 13, "\r")
    assert page.evaluate(COUNT) == "40 cases"


@needs_chromium
def test_another_shape_is_drawn(page):
    drawn = "document.querySelector('#tradeoff-plot').data.at(-1).customdata[0][0]"
    first = page.evaluate(drawn)
    choose = "(() => {{ const s = document.getElementById('tradeoff-which'); s.value = '{}';"
    choose += "s.dispatchEvent(new Event('change')) }})()"
    page.evaluate(choose.format(1))
    page.wait(f"{drawn} !== {json.dumps(first)}")
    page.evaluate(choose.format(0))
    page.wait(f"{drawn} === {json.dumps(first)}")


@needs_chromium
def test_scaling_is_drawn_when_it_is_come_to(page):
    page.evaluate("document.getElementById('scaling').scrollIntoView()")
    page.wait("document.querySelectorAll('#scaling-depth-plot .scatterlayer .trace').length > 10")


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
    wanted = (
        "#filter, #table thead th[tabindex], #table thead [tabindex], select, .cases button, .button, summary, nav a"
    )
    total = page.evaluate(f"document.querySelectorAll('{wanted}').length")
    seen = page.evaluate("window.reached = new Set(), 0")
    for _ in range(3 * total + 20):
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
        found.evaluate("document.querySelector('.dt-paging .next').click()")
        found.wait(f"{ROWS}.length === 10")
        found.evaluate("document.querySelector('.dt-paging .first').click()")
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
    lines = embedded(written([record("none"), told], tmp_path / "page.html"))["lines"]
    assert "no-op" in [words for words, _ in lines[1]["cells"]]


def test_the_axes_that_tell_shapes_apart_are_columns(tmp_path):
    mlp = {"model": "mlp", "sequence": None, "heads": None}
    records = [record(case(s, **more)) for s in ("none", "all") for more in ({}, mlp, {"depth": 9})]
    text = written(records, tmp_path / "page.html").read_text()
    headings = re.findall(r"<th scope[^>]*>([^<]+)</th>", text)
    assert headings[:3] == ["model", "depth", "strategy"]


@pytest.mark.parametrize("values", [(32.1, 32.1), (32.05, 32.15), (7, 16), (1, 1000)])
def test_a_logarithmic_axis_has_a_number_within_reach(values):
    axis = look.axis("peak", "log", pd.Series(values))
    low, high = axis.get("range", [math.log10(v) for v in values])
    assert any(low <= math.log10(tick) <= high for tick in axis["tickvals"])
    assert low <= math.log10(min(values)) and math.log10(max(values)) <= high


def test_ticks_that_lie_on_one_another_are_left_out():
    assert look.apart(pd.Series([1, 4, 93, 97, 4]), "log") == [1, 4, 93]
    assert look.apart(pd.Series([2, 4, 8]), "linear") == [2, 4, 8]
