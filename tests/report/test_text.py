"""Text of any kind in names, reasons and devices, through every writer: nothing fails, and text stays text."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import xml.etree.ElementTree
from html.parser import HTMLParser

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from artifex_bench.advice import advise, format_advice
from artifex_bench.advice.words import describe_advice
from artifex_bench.cli import main, progress
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError, CheckpointCase, FaultCase
from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report import plots, tables, text
from artifex_bench.report.comparison import compare_runs
from artifex_bench.report.html import page, render
from artifex_bench.report.plots.comparison import write_comparison
from tests.build import case, measured, record, taken
from tests.shown import remat

NASTY = (
    "=cmd|' /C calc'!A0 \"quoted\", <script>alert(1)</script> | :M: [red]x[/red] $\\frac$ %{x} {y} `a` *b* "
    "[c](javascript:d)",
    "\x1b[31m\x1b]0;title\x07 line\r\nnext\u2028last \u202edesrever\x00\x85",
    "_" + "long " * 400 + "\U0001f642 \u6587",
    "# 1. heading",
)
anything = st.text(st.characters(exclude_categories=()), max_size=40)  # with surrogates and control characters
names = st.text(max_size=40).filter(str.strip)


def run_of(name: str, reason: str) -> list[Record]:
    environment = {"device": reason, "versions": {"jax": "0.12"}, "cpu": reason}
    how = {"environment": environment, "verdict": Verdict("effective", reason)}
    return [
        record(case("none", model=name), environment=environment),
        record(case("all", model=name), measurements=measured((0.02, 0.03), peak=3000), **how),
        record(case(f"{name}s", model=name), measurements=measured((0.03, 0.03), peak=4000), **how),
        record(case("mlp-only", model=name), "failed", reason=reason, environment=environment),
    ]


def controls(written: str) -> set[str]:
    """The control characters in it, and what would turn or hide text, but for line breaks."""
    return {c for c in written if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def examples(test):
    for nasty in NASTY:
        test = example(nasty, f"{nasty}\ud800")(test)
    return test


@examples
@given(names, anything)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_hold_any_text(tmp_path, name, reason):
    records = run_of(name, reason)
    table = make_frame(records)
    tables.write_tables(table, tmp_path)
    written = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert not controls(written)
    rows = list(csv.DictReader(io.StringIO(written)))
    assert len(rows) == len(records)
    for row in rows:
        for column, cell in row.items():
            assert not cell.startswith(("=", "@", "\t", "\r")) and (not cell.startswith(("+", "-")) or float(cell)), (
                column
            )
    told = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert not controls(told) and "<" not in told
    grid = [line for line in told.splitlines() if line.startswith("|")]
    assert len(grid) == 2 + len(records)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in grid} == {len(remat.HEADINGS) + 1}
    assert json.loads(text.format_json_rows(table))[0]["model"] == name


@examples
@given(names, anything)
@settings(max_examples=10)
def test_advice_and_comparisons_hold_any_text(name, reason):
    records = run_of(name, reason)
    for advice in advise(make_frame(records), memory_budget=3500):
        assert not controls(format_advice(advice))
    found = compare_runs(records, records)
    assert len(list(csv.reader(io.StringIO(text.format_csv(found))))) == len(found) + 1
    assert len(json.loads(text.format_json_rows(found))) == len(found)


class Tags(HTMLParser):
    """The tags of a page, in order."""

    def __init__(self, written: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)


def page_of(name, reason, path):
    records = run_of(name, reason)
    texts = [describe_advice(advice) for advice in advise(make_frame(records), time_budget=1.6)]
    page.write_page(records, texts, reason, path)
    return path.read_text(encoding="utf-8")


@examples
@given(names, anything)
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_holds_any_text(tmp_path, monkeypatch, name, reason):
    monkeypatch.setattr(render, "_pack", lambda content: "")  # base 64, whose characters are no text of the case
    usual = page_of("mlp", "a device", tmp_path / "usual.html")
    written = page_of(name, reason, tmp_path / "page.html")
    assert Tags(written).found == Tags(usual).found
    ours = render._read_asset("page.js") + render._read_asset("page.css")
    assert controls(written) <= controls(ours)
    assert written.count("<tr data-case=") == 4


def test_plots_hold_any_text(tmp_path):
    records = [one for name in NASTY[:2] for one in run_of(name, name)]
    records += [record(case(name, model=NASTY[0], depth=4), measurements=measured()) for name in NASTY[2:]]
    assert plots.write_plots(make_frame([*records, record(case("all", model=NASTY[0], depth=4))]), tmp_path / "plots")
    times = ("blocking_seconds", "committed_seconds", "restore_seconds", "raw_write_seconds", "raw_read_seconds")
    taken_times = tuple(taken(one, 0.5, 0.6) for one in times)
    saved = [
        Record(CheckpointCase(format=form, size=size), 0, "ok", measurements=taken_times)
        for form in NASTY
        for size in (2**20, 2**21)
    ]
    assert len(plots.write_plots(make_frame(saved), tmp_path / "saved")) > 2
    trials = tuple(Measurement(one, "trials", (20,), "count") for one in OUTCOMES)
    faults = [Record(FaultCase(format=name, fault=name), 0, "ok", measurements=trials) for name in NASTY]
    assert plots.write_plots(make_frame(faults), tmp_path / "faults")
    for kind in ("svg", "pdf"):
        write_comparison(compare_runs(records, records), tmp_path / f"compared.{kind}")
    drawn = xml.etree.ElementTree.parse(tmp_path / "compared.svg")
    assert not any(element.tag.endswith("script") for element in drawn.iter())


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize(
    "command", ["report", "advise", "compare", "compare --format markdown", "compare --format csv"]
)
def test_a_terminal_gets_no_control_characters(tmp_path, monkeypatch, name, command):
    monkeypatch.setattr("artifex_bench.report.plots.write_plots", lambda *_: [])
    records = run_of(name, f"{name}\ud800")
    store.create_run(
        tmp_path / "run", run_spec.run_spec_to_json(RunSpec("remat", tuple(one.case for one in records), 1))
    )
    for one in records:
        store.append_record(tmp_path / "run", one)
    command, *options = command.split()
    run = str(tmp_path / "run")
    folders = [run, run, "--all"] if command == "compare" else [run]
    options += ["--memory-budget", "1MiB"] if command == "advise" else []
    done = CliRunner().invoke(main, [command, *folders, *options])
    assert done.exit_code == 0, done.output
    assert not controls(done.output)
    if command == "report" and name.isascii() and ":M:" in name:
        assert ":M: [red]x[/red]" in done.output.replace("\n", "")


def test_a_terminal_shows_names_as_they_are_while_a_run_goes_on():
    name = "[red]x[/red] :M: \x1b[31m"
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None, **progress.AS_IT_IS)
    with progress.JobProgress(console, 2, 1) as shown:
        job = Job(case(name))
        shown(job, None)
        shown(job, record(name, "failed", reason=name))
    told = console.file.getvalue()
    assert told.count("[red]x[/red] :M: \\x1b[31m") >= 3 and name not in told


def test_a_name_that_is_no_text_is_refused():
    for name in ("\ud800", "all\udcff"):
        with pytest.raises(CaseError, match=r"strategy .*: must be a name"):
            case(name)
        with pytest.raises(CaseError, match=r"format .*: must be a name"):
            CheckpointCase(format=name)


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ("all|none", r"all\|none"),
        ("<b>", "&#60;b&#62;"),
        ("dots_saveable 2 * 3", "dots_saveable 2 * 3"),
        ("$a$", "&#36;a&#36;"),
        ("_a_ **b** ~~c~~", "&#95;a&#95; &#42;&#42;b&#42;&#42; &#126;&#126;c&#126;&#126;"),
        ("[a](http://b)", "&#91;a&#93;(http&#58;&#47;&#47;b)"),
        ("a\\|b", r"a&#92;\|b"),
        ("a\nb", "a&#92;nb"),
        ("umlp:M: depth 2", "umlp:&#8203;M: depth 2"),
        ("a:b:+1:", "a:&#8203;b:&#8203;+1:"),
        ("package.module:attribute, 12:30", "package.module:attribute, 12:30"),
        ("@name a@b.c @ 5", "@&#8203;name a@&#8203;b.c @ 5"),
        ("#12, # 3", "&#35;&#8203;12, &#35; 3"),
        ("www.a.b", "www&#46;a.b"),
    ],
)
def test_markdown_is_escaped(given_, told):
    assert text.escape_markdown(given_) == told


@pytest.mark.parametrize("given_", ["# a", "- a", "+ a", "> a", "1. a", "12) a", "===", "  * a", "|a"])
def test_a_line_of_markdown_begins_no_block(given_):
    told = text.escape_markdown_line(given_)
    assert not re.match(r"\s*(#|[-+*>=]|\d+[.)]|\|)", told)


def test_numbers_in_csv_are_left_alone():
    table = pd.DataFrame({"a": [-1.0, 2.0], "b": ["-1", "+1"], "c": [True, False], "d": ["x", None]})
    assert text.format_csv(table) == "a,b,c,d\n-1.0,'-1,True,x\n2.0,'+1,False,\n"
