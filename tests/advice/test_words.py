"""Advice as text and as JSON: words for every reason and doubt, with the numbers; docs/advice.md names them all."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench import load_run
from artifex_bench.advice import advise, format_advice
from artifex_bench.advice.data import (
    Advice,
    Candidate,
    Confidence,
    Doubt,
    Level,
    Limits,
    Question,
    Reason,
    Rejection,
)
from artifex_bench.advice.words import ADVICE_ON_DOUBTS, DOUBTS, QUESTIONS, REASONS, describe_advice
from artifex_bench.cli import main
from tests.advice.build import MIB, SWEEP, advise_on, job, saved, store_run

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "advice.md").read_text()


def test_every_question_reason_and_doubt_has_words():
    assert set(QUESTIONS) == set(Question)
    assert set(REASONS) == set(Reason)
    assert {*DOUBTS, *ADVICE_ON_DOUBTS} == set(Doubt)


@pytest.mark.parametrize(
    ("advice", "numbers"),
    [
        (advise_on(*SWEEP, memory_budget=60 * MIB), ("60.0 MiB", "110 ms", "1.10x", "80.0 MiB, 20.0 MiB over")),
        (advise_on(*SWEEP, time_budget=1.22), ("1.22x", "1.40x", "50.0 MiB")),
        (advise_on(*SWEEP, memory_budget=10 * MIB), ("`all`", "20.0 MiB", "10.0 MiB")),
        (advise_on(*SWEEP, time_budget=0.5), ("`none`", "1.00x")),
        (
            advise_on(saved("sync", 2.0, 1.0), saved("async", 0.02, 1.0, lost=(0.1, 0.5, 9.0)), mtbf_seconds=14400),
            ("4.00 h", "120 s", "0.84%", "500 ms", "`auto, sync`"),
        ),
    ],
)
def test_the_words_hold_the_names_and_the_numbers(advice, numbers):
    text = format_advice(advice)
    assert [number for number in numbers if number not in text] == []
    assert all(name in text for name in advice.rejected)


def test_if_every_case_failed_the_text_says_with_which_status():
    text = describe_advice(advise_on(job("none", 1, 1, status="oom"), memory_budget=MIB))
    assert text.choice is None and text.figures.endswith("out of memory")


def test_the_json_is_the_data(tmp_path):
    done = CliRunner().invoke(main, ["advise", str(store_run(tmp_path / "run")), "--time-budget", "1.22x", "--json"])
    assert json.loads(done.output) == [json.loads(json.dumps(advise_on(*SWEEP, time_budget=1.22).to_json()))]


def documented_names():
    """The first cell of each row of the page's tables, by the heading above it."""
    tables, heading = defaultdict(set), ""
    for line in PAGE.splitlines():
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        if line.startswith("| `"):
            tables[heading] |= set(re.findall(r"`([\w-]+)`", line.split("|")[1]))
    return tables


def test_the_page_names_every_field_and_value():
    tables = documented_names()
    assert tables["Questions"] == set(Question)
    assert tables["Reasons"] == set(Reason)
    assert tables["Confidence"] == {*Level, *Doubt}
    kinds = (Advice, Limits, Candidate, Confidence, Rejection)
    assert tables["Fields"] == {field.name for kind in kinds for field in fields(kind)}


def test_the_page_names_every_figure():
    advices = (
        advise_on(*SWEEP, memory_budget=60 * MIB),
        advise_on(*SWEEP, time_budget=1.22),
        advise_on(*SWEEP, memory_budget=MIB),
        advise_on(saved("sync", 2.0, 1.0), saved("sync", 1.0, 1.0, format="npz"), mtbf_seconds=14400),
        *advise(load_run(ROOT / "results" / "reference-remat-mesh")),
    )
    figures = documented_names()["Figures"]
    for advice in advices:
        for holder in filter(None, (advice.choice, advice.runner_up, advice.nearest, *advice.rejected.values())):
            assert set(holder.figures) <= figures
