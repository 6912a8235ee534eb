"""Searches for the largest batch: their rows, words and plot."""

from __future__ import annotations

import json
import re

from artifex_bench.core.record import PUBLISHED_STEPS, REAL_STEPS
from artifex_bench.kinds.frames import make_frame
from artifex_bench.kinds.max_batch import tabulate_searches
from artifex_bench.report import plots, tables
from artifex_bench.report.frame import load_run
from tests.build import case, record, taken
from tests.shown import max_batch
from tests.test_views import ROOT

GIB = 2**30
SUITE = "max-batch"
FIGURES = ("compiled_peak_bytes", "capacity_bytes", "estimated_step_seconds")


def compiled(batch, peak, seconds=0.1, strategy="none", target="tpu:v5e", **fields):
    """A record of a batch that was compiled for a target of 16 GiB."""
    figures = [taken("compiled_peak_bytes", peak * GIB, argument_bytes=GIB), taken("capacity_bytes", 16 * GIB)]
    figures += [taken("estimated_step_seconds", seconds)] if seconds else []
    return record(case(strategy, batch=batch, target=target, **fields), measurements=figures)


RECORDS = [
    *(compiled(1, 4), compiled(4, 15, 0.2), compiled(5, 18, 0.25)),
    *(compiled(1, 2, strategy="all"), compiled(16, 9, 0.4, "all"), compiled(24, 17, 0.5, "all")),
    compiled(1, 17, strategy="every-2"),
    record(case("mlp-only", batch=1, target="tpu:v5e"), "failed"),
]


def told(records):
    [(title, lines, notes)] = max_batch.grouped(make_frame(records))
    return title, {line[0]: dict(zip(max_batch.HEADINGS, line, strict=True)) for line in lines}, notes


def test_a_row_a_search_the_highest_throughput_first():
    found = tabulate_searches(make_frame(RECORDS))
    assert found.strategy.tolist() == ["all", "none", "every-2", "mlp-only"]
    best, plain, too_large, fell = found.to_dict("records")
    assert (best["largest_batch"], best["failing_batch"], best["estimated_samples_per_second"]) == (16, 24, 40)
    assert (best["largest_peak_bytes"], best["failing_peak_bytes"]) == (9 * GIB, 17 * GIB)
    assert (plain["largest_batch"], plain["estimated_step_seconds"], plain["compiled"]) == (4, 0.2, 3)
    assert too_large["largest_batch"] != too_large["largest_batch"] and too_large["failing_batch"] == 1
    assert (fell["status"], fell["reason"], fell["compiled"]) == ("failed", "it was failed", 0)
    assert found.monotone.all()


def test_the_words_of_a_search():
    title, lines, notes = told(RECORDS)
    assert title == "transformer: depth 2, width 32, sequence 16, float32, scan"
    assert list(lines["all"].values()) == [
        *("all", "tpu:v5e", "16", "9.00 GiB", "24", "17.0 GiB", "400 ms", "40.0 samples/s", "yes", "3", "ok"),
    ]
    assert (lines["every-2"]["largest batch that fits"], lines["every-2"]["estimated throughput"]) == ("none", "–")
    capacity, too_large, failed = notes
    assert "16.0 GiB" in capacity and "tpu:v5e" in capacity
    assert "every-2" in too_large and "1.00 GiB" in too_large
    assert "mlp-only" in failed and "it was failed" in failed


def test_a_peak_that_falls_as_the_batch_grows_is_said():
    _, lines, notes = told([compiled(1, 4), compiled(4, 17), compiled(8, 15)])
    assert (lines["none"]["monotone"], lines["none"]["largest batch that fits"]) == ("NO", "8")
    _, at_the_limit, not_monotone = notes
    assert "none on tpu:v5e" in at_the_limit
    assert re.findall(r"batch (\d+) and (\d+) .* (\S+) GiB and (\S+) GiB", not_monotone) == [("4", "8", "17.0", "15.0")]


def test_what_has_no_estimate_has_no_throughput(tmp_path):
    records = [compiled(1, 4, None, target="local"), compiled(4, 17, None, target="local")]
    _, lines, _ = told(records)
    assert (lines["none"][f"estimated step ({REAL_STEPS})"], lines["none"]["estimated throughput"]) == ("–", "–")
    assert plots.write_plots(make_frame(records), tmp_path / "plots", SUITE) == []


def test_an_estimate_of_no_time_has_no_throughput(tmp_path):
    zero = record(
        case(target="tpu:v5e"),
        measurements=[taken(name, 0.0 if "seconds" in name else 1.0) for name in FIGURES],
    )
    tables.write_tables(make_frame([zero]), tmp_path, SUITE)
    (row,) = json.loads((tmp_path / "max_batch.json").read_text())
    assert (row["estimated_step_seconds"], row["estimated_samples_per_second"]) == (0.0, None)


def test_shapes_are_told_apart_and_targets_stand_in_one_table():
    records = [*RECORDS, compiled(2, 1, target="gpu:h100"), compiled(2, 1, width=64)]
    first, second = max_batch.grouped(make_frame(records))
    assert next(iter(first[1]))[:2] == ["none", "gpu:h100"]
    assert "width 64" in second[0]
    assert tabulate_searches(make_frame(records)).groupby("target").size().to_dict() == {"gpu:h100": 1, "tpu:v5e": 5}


def test_a_loaded_run_of_searches_has_their_plot():
    table = load_run(ROOT / "results" / "reference-max-batch")
    assert plots.plot_run(table, "max_batch").axes


def test_files_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setitem(plots.style._STYLE, "figure.dpi", 30)
    table = make_frame([*RECORDS, compiled(2, 1, target="gpu:h100")])
    assert {path.name for path in tables.write_tables(table, tmp_path, SUITE)} >= {"max_batch.csv", "max_batch.json"}
    rows = json.loads((tmp_path / "max_batch.json").read_text())
    assert [row["largest_batch"] for row in rows] == [2, 16, 4, None, None]
    assert [path.stem for path in plots.write_plots(table, tmp_path / "plots", SUITE)] == ["max_batch"]
    text = tables.make_markdown(table, SUITE)
    assert text.startswith("# The largest batch that fits") and text.count("| strategy") == 1


def test_what_is_estimated_says_so_and_by_how_much_it_may_err():
    assert {f"estimated step ({REAL_STEPS})", "estimated throughput"} < set(max_batch.HEADINGS)
    assert "an estimate and no measurement" in max_batch.LEGEND and PUBLISHED_STEPS in max_batch.LEGEND
