"""Tables: what stands in which cell, in Markdown and in CSV."""

from __future__ import annotations

import pandas as pd
import pytest

from artifex_bench.core.record import Measurement
from artifex_bench.core.verdicts import Agreement, Verdict
from artifex_bench.kinds.frames import make_frame
from artifex_bench.kinds.remat_groups import group_by_shape, measured_front
from artifex_bench.report import tables
from artifex_bench.report.tables import make_markdown, write_tables
from tests.build import case, measured, record, taken
from tests.shown import remat

COLUMNS = remat.HEADINGS
EFFECTIVE = record(
    "all",
    measurements=measured((0.02, 0.022, 0.024), residual=400, peak=3072, recomputed=300),
    verdict=Verdict("effective", "why"),
    agreement=Agreement(True, "equal"),
)
RECORDS = [
    record("none"),
    EFFECTIVE,
    record("every-2", "oom"),
    record("mlp-only", "failed", agreement=Agreement(False, "differs"), measurements=measured(recomputed=90)),
    record("dots_saveable", measurements=(taken("step_seconds", 0.5), taken("other_cpu_share", 0.4))),
]


def told(records, strategy):
    """The row's remat.cells by their headings."""
    table = make_frame(records)
    best = measured_front(table)
    line = next(row for row in table.itertuples() if row.strategy == strategy)
    return dict(zip(COLUMNS, remat.cells(line, line.Index in best), strict=True))


def test_a_case_in_words():
    found = told(RECORDS, "all")
    interval = found.pop("95 %")
    low, high = map(float, interval.split(" … "))
    assert low <= 2.0 <= high
    assert found == {
        "strategy": "all *",
        "step time": "22.0 ms",
        "vs none": "0.61x",  # of memory: the heading stands twice
        "peak (compiled)": "3.00 KiB",
        "peak (measured)": "–",
        "residuals": "400 B",
        "recomputed": "+33%",
        "throughput": "1.45 k tokens/s",
        "verdict": "effective",
        "grads equal": "yes",
        "status": "ok",
    }


def test_what_is_absent_is_a_dash():
    found = told(RECORDS, "every-2")
    assert found.pop("strategy") == "every-2"
    assert found.pop("status") == "oom"
    assert set(found.values()) == {"–"}


def test_flops_without_those_of_the_reference_give_no_share():
    assert told([record("none", "oom"), EFFECTIVE], "all")["recomputed"] == "–"
    assert told([record("none", measurements=()), EFFECTIVE, record("every-2")], "all")["recomputed"] == "–"


def test_gradients_that_differ_are_shouted():
    assert told(RECORDS, "mlp-only")["grads equal"] == "NO"


def test_a_contended_case_says_so():
    assert told(RECORDS, "dots_saveable")["status"] == "ok, contended"


def test_the_front_is_of_cases_that_ended_well():
    table = make_frame(RECORDS)
    assert {table.strategy[i] for i in measured_front(table)} == {"none", "all"}
    assert measured_front(make_frame([record("none", "oom")])) == set()


def test_shapes_are_all_axes_but_the_strategy():
    records = [
        record(case(s, depth=d, model=m, sequence=q)) for s in ("none", "all") for d in (2, 4) for m, q in MODELS
    ]
    found = {title: list(rows.strategy) for title, rows in group_by_shape(make_frame(records))}
    assert list(found) == [
        "transformer: depth 2, width 32, batch 2, sequence 16, float32, scan",
        "mlp: depth 2, width 32, batch 2, float32, scan",
        "transformer: depth 4, width 32, batch 2, sequence 16, float32, scan",
        "mlp: depth 4, width 32, batch 2, float32, scan",
    ]
    assert set(map(tuple, found.values())) == {("none", "all")}


MODELS = (("transformer", 16), ("mlp", None))


def test_titles_say_what_is_not_as_usual():
    other = case(
        dtype="bfloat16", layers="unroll", step="gradient", optimizer="sgd", compiler="default", seed=3, remat3="on"
    )
    [(title, _)] = group_by_shape(make_frame([record(other)]))
    assert title == (
        "transformer: depth 2, width 32, batch 2, sequence 16, bfloat16, unroll, step gradient, optimizer sgd, "
        "compiler default, seed 3, remat3 on"
    )


@pytest.mark.parametrize(
    ("parameters", "products", "words"),
    [
        (["float32"], ["float32"], ""),
        (["float64"], ["float64"], ", parameters float64"),
        (["float32"], ["float32", "float64"], ", products float64"),  # data of a model that enables 64-bit types
    ],
)
def test_titles_name_float64_wherever_it_is(parameters, products, words):
    found = (taken("parameter_bytes", 8, dtypes=parameters), taken("gradient_flops", 9, product_dtypes=products))
    [(title, _)] = group_by_shape(make_frame([record(case(), measurements=found)]))
    assert title == "transformer: depth 2, width 32, batch 2, sequence 16, float32, scan" + words


def test_a_case_that_a_cpu_widens_says_so():
    peak = taken("compiled_peak_bytes", 9, computed_in="float32")
    [(title, _)] = group_by_shape(make_frame([record(case(dtype="bfloat16"), measurements=(peak,))]))
    assert title.endswith("bfloat16, scan, computed in float32")


def test_shapes_that_differ_have_titles_that_differ():
    base = {"depth": 2, "heads": 4}
    for axis, other in (("heads", 2), ("seed", 1), ("optimizer", "adamw"), ("width", 64), ("step", "gradient")):
        table = make_frame([record(case(**base)), record(case(**{**base, axis: other}))])
        assert len({title for title, _ in group_by_shape(table)}) == 2, axis


def test_heads_are_whole_beside_a_model_that_has_none():
    table = make_frame([record(case(heads=2)), record(case(model="mlp", sequence=None, heads=None))])
    assert [title for title, _ in group_by_shape(table)] == [
        "transformer: depth 2, width 32, batch 2, sequence 16, float32, scan, heads 2",
        "mlp: depth 2, width 32, batch 2, float32, scan",
    ]


def test_notes_name_what_went_wrong():
    [(_, lines, notes)] = remat.grouped(make_frame(RECORDS))
    assert len(lines) == len(RECORDS)
    assert notes == ["every-2: oom: it was oom", "mlp-only: failed: it was failed"]


def test_markdown_is_a_table_a_shape_with_a_line_a_case():
    text = make_markdown(make_frame([*RECORDS, record(case("none", depth=4))]))
    lines = text.splitlines()
    assert remat.LEGEND.strip().splitlines()[0] in lines
    titles = [line for line in lines if line.startswith("## ")]
    assert titles == [
        "## transformer: depth 2, width 32, batch 2, sequence 16, float32, scan",
        "## transformer: depth 4, width 32, batch 2, sequence 16, float32, scan",
    ]
    grid = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert {len(row) for row in grid} == {len(COLUMNS)}
    assert grid[0] == list(COLUMNS)
    body = [row[0] for row in grid if row[0] != "strategy" and not row[0].startswith((":-", "--"))]
    assert body == ["none *", "all *", "every-2", "mlp-only", "dots_saveable", "none *"]
    assert "- every-2: oom: it was oom" in lines
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_csv_holds_every_column_and_reads_back(tmp_path):
    records = [*RECORDS, record(case("all", depth=9), "failed", reason='a, "b"\nc')]
    table = make_frame(records)
    assert write_tables(table, tmp_path) == [tmp_path / "table.csv", tmp_path / "table.md"]
    back = pd.read_csv(tmp_path / "table.csv", keep_default_na=False, na_values=[""])
    assert list(back.columns) == list(table.columns)
    assert len(back) == len(records)
    assert back.reason.iloc[-1] == 'a, "b"\\nc'
    for column in ("step_seconds", "time_ratio", "residual_bytes", "depth", "sequence"):
        pd.testing.assert_series_equal(back[column], table[column], check_dtype=False)


def test_a_strategy_called_none_is_no_absent_value(tmp_path):
    """pandas reads the word None as absent, but not `none`."""
    write_tables(make_frame([record("none")]), tmp_path)
    assert pd.read_csv(tmp_path / "table.csv").strategy.tolist() == ["none"]


def test_a_single_case_and_all_failed(tmp_path):
    for records in ([record("none")], [record("none", "failed"), record("all", "timeout")]):
        write_tables(make_frame(records), tmp_path)
        assert (tmp_path / "table.md").read_text().count("\n|") == 2 + len(records)


def test_absent_peaks_are_told_by_their_note_in_the_csv_alone():
    table = make_frame([record("none", measurements=(Measurement("measured_peak_bytes", "bytes", note="no /proc"),))])
    assert table.measured_peak_source.tolist() == ["no /proc"]
    assert "no /proc" not in tables.make_markdown(table)


def test_a_bar_in_a_name_is_no_border():
    text = make_markdown(make_frame([record("none"), record("save_only_these_names:a|b")]))
    row = next(line for line in text.splitlines() if "save_only" in line)
    assert row.startswith(r"| save_only_these_names:a\|b")
    assert row.replace(r"\|", "").count("|") == len(remat.HEADINGS) + 1
