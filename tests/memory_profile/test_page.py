"""The timeline as a page: what it weighs, what it holds, and what it does in a browser."""

from __future__ import annotations

import json
import re

import pytest

from artifex_bench.core import units
from artifex_bench.memory_profile import LIVE
from artifex_bench.memory_profile.page import write_timeline_page
from tests import browser
from tests.build import replaced
from tests.memory_profile.test_areas import profile
from tests.memory_profile.test_tables import BUFFERS_ALIVE, CURVE, profiled
from tests.programs import case
from tests.report.fabricated import READY
from tests.report.test_html import contrast

NONE, ALL = (
    case("transformer", strategy, layers="scan", depth=3, width=32, sequence=16) for strategy in ("none", "all")
)


def data_of(path):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    return json.loads(text)


def test_its_areas_sum_to_the_live_bytes_of_both_cases(tmp_path):
    records = [profile(NONE), profile(ALL)]
    (path,) = write_timeline_page(records, tmp_path / "timeline.html")
    for record, one in zip(records, data_of(path)["cases"], strict=True):
        live = record.get(LIVE)
        total = [sum(bytes_at(area[-1], moment) for area in one["areas"]) for moment in range(one["count"])]
        assert total == list(live.values)
        assert (one["moment"], one["peak"]) == (live.detail["moment"], live.detail["peak_bytes"])
        assert sum(count for _, count in one["phases"]) == one["count"]


def test_a_program_of_many_buffers_weighs_less_than_a_megabyte(tmp_path):
    """24 unrolled layers of a transformer have 1500 buffers and 3300 instructions."""
    count = 10_000
    buffers = [
        {**BUFFERS_ALIVE[0], "name": f"fusion.{i}", "operation": f"op {i}", "lives": [[i, min(i + 99, 9999), 100 + i]]}
        for i in range(count)
    ]
    phases = ["forward", "not attributed"] * (count // 2)
    many = profiled(curve={**CURVE, "buffers": buffers, "phases": phases})
    many = replaced(many, measurements=(replaced(many.get(LIVE), values=(1e6,) * count),))
    (path,) = write_timeline_page([many, many], tmp_path / "timeline.html")
    assert path.stat().st_size < 1_000_000
    assert len(data_of(path)["cases"][0]["areas"]) > 1000


def test_hostile_names_stay_text(tmp_path):
    name = "</script><script>alert(1)</script>\x1b"
    buffers = [{**BUFFERS_ALIVE[0], "scope": name, "name": name}, *BUFFERS_ALIVE[1:]]
    (path,) = write_timeline_page([profiled(name, curve={**CURVE, "buffers": buffers})], tmp_path / "timeline.html")
    assert path.read_text().count("<script") == 2  # the data and the script
    assert "alert(1)" in json.dumps(data_of(path)["texts"])


needs_chromium = pytest.mark.skipif(browser.COMMAND is None, reason=browser.MISSING)
FIRST = "document.querySelector('.stack')"
TIP = "document.getElementById('tooltip')"
FIGURES = (
    f"Object.fromEntries([...{TIP}.querySelectorAll('dt')].map(one => [one.textContent, one.nextSibling.textContent]))"
)
ROWS = "[...document.querySelectorAll('#table tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
TITLE = "document.getElementById('alive-title').textContent"
RUNNING = "[...document.querySelectorAll('.stack')].map(one => Number(one.getAttribute('aria-valuenow')))"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    (written,) = write_timeline_page([profile(NONE), profile(ALL)], tmp_path_factory.mktemp("page") / "timeline.html")
    return written


@pytest.fixture(scope="module")
def page(path):
    with browser.opened() as found:
        found.size(1300, 1000)
        found.load(path, READY)
        yield found
        assert found.errors == []
        assert {url.partition(":")[0] for url in found.requests} == {"file"}


def choose(page, select, value):
    one = f"document.getElementById('{select}')"
    page.evaluate(f"{one}.value = '{value}'; {one}.dispatchEvent(new Event('change'))")


def picture(page):
    """The first chart as it is drawn."""
    return page.evaluate(f"{FIRST}.querySelector('canvas').toDataURL()")


def bytes_at(lives, moment):
    return sum(
        size for first, last, size in zip(*(lives[i::3] for i in range(3)), strict=True) if first <= moment <= last
    )


@needs_chromium
def test_pointing_at_an_area_names_its_buffer(page, path):
    data = data_of(path)
    one, moment = data["cases"][0], data["cases"][0]["moment"]
    sizes = [bytes_at(area[-1], moment) for area in one["areas"]]
    texts = [[data["texts"][number] for number in area[:6]] for area in one["areas"]]
    number = next(i for i, text in enumerate(texts) if text[2].endswith("stacked") and sizes[i] > one["peak"] / 50)
    middle = sum(sizes[:number]) + sizes[number] / 2
    box = page.evaluate(f"(({FIRST}).getBoundingClientRect()).toJSON()")
    left, right, top, bottom = 70, 12, 12, 40
    tallest = 1.06 * max(one["peak"] for one in data["cases"])
    x = box["x"] + left + (moment + 0.5) / one["count"] * (box["width"] - left - right)
    y = box["y"] + top + (1 - middle / tallest) * (box["height"] - top - bottom)
    page.mouse(x, y)
    assert page.evaluate(f"{TIP}.hidden") is False
    name, scope, operation, phase, shape, source = texts[number]
    assert page.evaluate(f"{TIP}.querySelector('b').textContent") == name
    shown = page.evaluate(FIGURES)
    wanted = {"shape": shape, "operation": operation, "scope": scope, "pass": phase, "source line": source}
    assert wanted.items() <= shown.items()
    assert source.startswith("models/transformer.py:")
    assert shown["bytes"] == units.format_bytes(sizes[number])
    assert {"peak of none", "peak of all"} <= set(shown)
    page.mouse(5, 5)
    assert page.evaluate(f"{TIP}.hidden") is True


@needs_chromium
def test_keys_move_through_instructions_and_the_stack(page):
    live = profile(NONE).get(LIVE)
    page.evaluate(f"{FIRST}.focus()")
    page.key("Home", 36)
    assert page.evaluate(RUNNING) == [1, 1]
    page.key("ArrowRight", 39)
    assert page.evaluate(RUNNING) == [2, 2]  # both cases at one aligned instruction
    page.key("End", 35)
    assert page.evaluate(RUNNING)[0] == len(live.values)
    page.key("p", 80, "p")
    assert page.evaluate(RUNNING)[0] == live.detail["moment"] + 1
    assert f"instruction {live.detail['moment'] + 1} of {len(live.values)}, the peak" in page.evaluate(TITLE)
    page.key("ArrowUp", 38)
    assert page.evaluate(f"{TIP}.querySelector('b').textContent") == "optimizer"  # the largest band
    first = page.evaluate(f"{FIRST}.getAttribute('aria-valuetext')")
    page.key("ArrowUp", 38)
    assert page.evaluate(f"{FIRST}.getAttribute('aria-valuetext')") != first
    page.key("Escape", 27)
    assert page.evaluate(f"{TIP}.hidden") is True


@needs_chromium
def test_the_table_lists_what_is_alive_at_the_peak(page):
    page.evaluate(f"{FIRST}.focus()")
    page.key("p", 80, "p")
    rows = page.evaluate(ROWS)
    shares = [float(row[1].rstrip("%")) for row in rows]
    assert shares == sorted(shares, reverse=True)
    hidden = page.evaluate("document.getElementById('rest').textContent")
    assert hidden or sum(shares) == pytest.approx(100, abs=0.05 * len(rows))
    assert all(re.fullmatch(r"\d+–\d+", row[-1]) for row in rows)


@needs_chromium
def test_stacking_colours_alignment_and_zoom_redraw_the_charts(page):
    legend = "document.getElementById('legend').textContent"
    passes, drawn = page.evaluate(legend), [picture(page)]
    for select, value in (("colour", "source"), ("stack", "scope"), ("align", "peak")):
        choose(page, select, value)
        drawn.append(picture(page))
    assert "transformer.py" in page.evaluate(legend)
    page.evaluate(f"{FIRST}.focus()")
    page.key("p", 80, "p")
    assert page.evaluate(RUNNING) == [profile(one).get(LIVE).detail["moment"] + 1 for one in (NONE, ALL)]
    page.evaluate("document.getElementById('closer').click()")
    drawn.append(picture(page))
    assert len(set(drawn)) == len(drawn)
    for select, value in (("stack", "buffer"), ("colour", "phase"), ("align", "start")):
        choose(page, select, value)
    assert page.evaluate(legend) == passes
    assert picture(page) == drawn[0]


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    names = ("paper", "wash", "ink", "muted", "link", "chosen")
    found = page.evaluate(
        f"Object.fromEntries({list(names)}.map(name => [name, "
        "getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))"
    )
    for text in ("ink", "muted", "link", "chosen"):
        assert contrast(found[text], found["paper"]) >= 4.5, text
    assert contrast(found["ink"], found["wash"]) >= 4.5
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == rgb(found["paper"])
    page("Emulation.setEmulatedMedia", features=[])


def rgb(colour):
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@needs_chromium
def test_a_narrow_screen_needs_no_sideways_scrolling(page):
    page.size(390, 800)
    page.wait("document.documentElement.clientWidth === 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.size(1300, 1000)
