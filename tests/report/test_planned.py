"""Cases compiled for devices that are not there: told apart from what ran, what does not fit in no front."""

from __future__ import annotations

import pytest

from artifex_bench.advice import advise
from artifex_bench.advice.data import Candidate, Confidence, Doubt, Level, Question, Reason, Rejection
from artifex_bench.core.case import CaseError
from artifex_bench.core.record import REAL_STEPS
from artifex_bench.kinds.frames import make_frame
from artifex_bench.kinds.remat_groups import estimated_front, fits_larger_pool, note_on_pool, notes_on_kernels, show_fit
from artifex_bench.report import plots
from artifex_bench.report.tables import make_markdown, split_tables
from tests.build import case, measured, record, replaced, taken
from tests.shown import planned

GIB = 2**30


def compiled(strategy, peak, seconds, target="tpu:v5e", **fields):
    """A record of a case compiled for a target of 16 GiB; `seconds` is the estimate."""
    more = [taken("capacity_bytes", 16 * GIB)] + ([taken("estimated_step_seconds", seconds)] if seconds else [])
    kept = [m for m in measured((), peak=peak * GIB) if m.probe != "step_seconds"]
    return record(case(strategy, target=target, **fields), measurements=(*kept, *more))


RECORDS = [compiled("none", 27, 0.2), compiled("all", 10, 0.25), compiled("every-2", 15, 0.26)]


def test_what_does_not_fit_is_on_no_front_and_says_by_how_much():
    table = make_frame(RECORDS)
    assert {table.strategy[i] for i in estimated_front(table)} == {"all"}
    [(title, lines, notes)] = planned.grouped(table)
    assert title.endswith("target tpu:v5e")
    told = {line[0]: dict(zip(planned.HEADINGS, line, strict=True)) for line in lines}
    assert told["none"]["fits"] == "no, 11.0 GiB over"
    assert told["all *"]["fits"] == "yes, 6.00 GiB free"
    assert told["all *"][f"estimated step ({REAL_STEPS})"] == "250 ms"
    assert notes == ["tpu:v5e: a program gets 16.0 GiB"]


def test_a_case_without_an_estimate_or_a_peak_is_told_and_is_on_no_front():
    table = make_frame([compiled("none", 4, None), record(case("all", target="tpu:v5e"), "failed")])
    assert estimated_front(table) == set()
    [(_, lines, notes)] = planned.grouped(table)
    assert lines[0][8] == lines[1][3] == "–"
    assert notes[-1] == "all: failed: it was failed"


def test_estimated_and_measured_times_stand_in_tables_of_their_own():
    records = [record("none"), record("all"), *RECORDS]
    assert [table.title for _, table, _ in split_tables(make_frame(records))] == [
        "Step time against peak memory",
        planned.TITLE,
    ]
    text = make_markdown(make_frame(records))
    assert text.index("## transformer: depth 2") < text.index("| estimated step") < text.index("27.0 GiB")
    ran, absent = text.split(f"# {planned.TITLE}")
    assert "estimated step" not in ran and "step time  " not in absent
    table = make_frame(records)
    assert table.step_seconds.isna().tolist() == [False, False, True, True, True]
    assert table.estimated_step_seconds.isna().tolist() == [True, True, False, False, False]


def test_advice_is_what_fits_with_the_shortest_estimate():
    [found] = advise(make_frame([*RECORDS, compiled("mlp-only", 8, None)]), target="tpu:v5e")
    assert (found.choice.name, found.runner_up.name) == ("all", "every-2")
    assert (found.question, found.limits.memory_bytes) == (Question.SHORTEST_ESTIMATE, 16 * GIB)
    peaks = dict.fromkeys(("compiled_peak_bytes", "needed_peak_bytes"), 10 * GIB)
    assert found.choice.figures == {"estimated_step_seconds": 0.25, **peaks, "spare_bytes": 6 * GIB}
    assert found.confidence == Confidence(Level.LOW, (Doubt.ESTIMATED_TIME,))
    assert found.rejected == {
        "none": Rejection(Reason.OVER_MEMORY_BUDGET, {"needed_bytes": 27 * GIB, "over_bytes": 11 * GIB}),
        "mlp-only": Rejection(Reason.NO_ESTIMATE, {"compiled_peak_bytes": 8 * GIB}),
    }
    [tight] = advise(make_frame(RECORDS), memory_budget=9 * GIB)
    assert (tight.choice, tight.nearest) == (None, Candidate("all", {"needed_bytes": 10 * GIB}))


def test_over_a_mesh_advice_is_what_fits_and_computes_the_least_again():
    names = (("none", 27), ("all", 10), ("every-2", 15))
    records = [compiled(name, peak, None, "tpu:v5e:2x4", mesh="fsdp=8") for name, peak in names]
    again = [taken("gradient_flops", 900 + 100 * i, counting_loops_once=900) for i in (0, 3, 1)]
    records = [
        replaced(r, measurements=(*(m for m in r.measurements if m.probe != "gradient_flops"), flops))
        for r, flops in zip(records, again, strict=True)
    ]
    [found] = advise(make_frame(records), target="tpu:v5e:2x4")
    assert (found.choice.name, found.runner_up.name) == ("every-2", "all")
    assert (found.question, found.limits.memory_bytes) == (Question.LEAST_RECOMPUTATION, 16 * GIB)
    assert found.choice.figures["recomputed_share"] == pytest.approx(1 / 9)
    assert found.choice.figures["spare_bytes"] == GIB
    assert found.confidence == Confidence(Level.LOW, (Doubt.UNKNOWN_TIME,))
    [(title, _, notes)] = planned.grouped(make_frame(records))
    assert title.endswith("target tpu:v5e:2x4, mesh fsdp=8")
    assert "peaks are those of each of the 8 devices; residuals are what all of them together save" in notes


def test_advice_where_nothing_was_compiled_is_no_choice():
    failed = [record(case(name, target="gpu:h100"), "failed", measurements=()) for name in ("none", "all")]
    [found] = advise(make_frame(failed))
    assert found.choice is found.nearest is None
    assert {name: why.reason for name, why in found.rejected.items()} == dict.fromkeys(("none", "all"), Reason.FAILED)


def test_what_is_moved_to_the_host_is_not_taken_as_free():
    moved = compiled("offload_dot_with_no_batch_dims", 9, None, "tpu:v5e:2x4", mesh="fsdp=8")
    peak = taken("compiled_peak_bytes", 9 * GIB, host_temp_bytes=3 * GIB)
    moved = replaced(moved, measurements=(*(m for m in moved.measurements if m.probe != "compiled_peak_bytes"), peak))
    [found] = advise(make_frame([moved]))
    assert found.choice is None
    rejection = Rejection(Reason.HOST_TRANSFERS, {"compiled_peak_bytes": 9 * GIB})
    assert found.rejected == {"offload_dot_with_no_batch_dims": rejection}


def on_gpu(strategy, peak, seconds=0.2, memory=80, share=0.75, **more):
    """A case that needs `peak` GiB of a GPU with so much memory, of which JAX's pool takes that share."""
    found = compiled(strategy, peak, seconds, "gpu:h100")
    kept = [m for m in found.measurements if m.probe != "capacity_bytes"]
    pool = taken("capacity_bytes", share * memory * GIB), taken("device_memory_bytes", memory * GIB)
    return replaced(found, measurements=(*kept, *pool, *(taken(k, v) for k, v in more.items())))


@pytest.mark.parametrize(
    ("peak", "share", "expected", "larger"),
    [
        (59, 0.75, "yes, 1.00 GiB free", False),
        (61, 0.75, "with MEM_FRACTION=0.95", True),
        (76, 0.75, "with MEM_FRACTION=0.95", True),
        (77, 0.75, "no, 17.0 GiB over", False),
        (77, 0.95, "no, 1.00 GiB over", False),
        (77, 1.0, "yes, 3.00 GiB free", False),
    ],
)
def test_a_gpu_s_capacity_is_the_pool_that_jax_takes(peak, share, expected, larger):
    found = on_gpu("all", peak, share=share)
    table = make_frame([found])
    [row] = table.itertuples()
    assert (show_fit(row), fits_larger_pool(row)) == (expected, larger)
    assert ("MEM_FRACTION" in planned.outcome(found)) == larger
    [(_, [cells], notes)] = planned.grouped(table)
    assert expected in cells
    assert any("export XLA_CLIENT_MEM_FRACTION=0.95" in note for note in notes) == larger
    [advice] = advise(make_frame([found, on_gpu("none", 10, share=share)]))
    assert ("all" not in advice.rejected) == expected.startswith("yes")
    reason = advice.rejected["all"].reason if "all" in advice.rejected else None
    assert (reason == Reason.NEEDS_LARGER_POOL) == larger
    assert advice.limits.device_memory_bytes == (None if share == 1 else 80 * GIB)


def test_the_share_of_the_pool_is_told_where_there_is_one():
    assert note_on_pool(make_frame([on_gpu("all", 10)])).startswith(", JAX's pool of 75% of 80.0 GiB")
    assert note_on_pool(make_frame([compiled("all", 10, 0.2)])) == ""


def test_the_larger_of_two_peaks_decides_what_fits():
    table = make_frame([on_gpu("all", 50, cublas_peak_bytes=61 * GIB), on_gpu("none", 50, cublas_peak_bytes=40 * GIB)])
    larger, smaller = table.itertuples()
    assert (show_fit(larger), show_fit(smaller)) == ("with MEM_FRACTION=0.95", "yes, 10.0 GiB free")
    assert estimated_front(table) == {1}
    [advice] = advise(table)
    assert advice.choice.name == "none" and advice.rejected["all"].figures["needed_bytes"] == 61 * GIB


@pytest.mark.parametrize(("cublas", "notes"), [(20, 1), (10.2, 1), (10.05, 0), (9, 1)])
def test_a_peak_that_depends_on_the_kernels_has_a_note(cublas, notes):
    found = list(notes_on_kernels(make_frame([on_gpu("all", 10, cublas_peak_bytes=cublas * GIB)])))
    assert len(found) == notes
    assert all("10.0 GiB" in note for note in found)


def test_advice_carries_no_figures_from_one_device_to_another():
    with pytest.raises(CaseError, match=r"tpu:v5e.*--target gpu:h100"):
        advise(make_frame(RECORDS), target="gpu:h100")
    with pytest.raises(CaseError, match=r"1\.10x.*tpu:v5e.*--memory-budget"):
        advise(make_frame(RECORDS), time_budget=1.1)
    with pytest.raises(CaseError, match=r"--memory-budget.*--time-budget.*--target"):
        advise(make_frame([record("none"), *RECORDS]))


def test_a_time_budget_is_answered_where_steps_were_timed_and_no_elsewhere():
    here, there = advise(make_frame([record("none"), record("all"), *RECORDS]), time_budget=1.1)
    assert here.choice is not None
    assert there.choice is there.nearest is None
    assert {why.reason for why in there.rejected.values()} == {Reason.NOT_TIMED}


def test_a_visit_in_a_few_words():
    assert planned.kind.table_of(RECORDS[0].case) is planned.table
    assert all(words in planned.outcome(RECORDS[0]) for words in ("27.0 GiB", "11.0 GiB over", "200 ms", "1.1-1.5"))
    fitting = planned.outcome(compiled("all", 10, None))
    assert "10.0 GiB" in fitting and "over" not in fitting and "ms" not in fitting


@pytest.mark.parametrize(
    ("records", "names"),
    [
        (RECORDS, {"aot_tradeoff"}),
        ([*RECORDS, compiled("all", 9, 0.1, "gpu:h100")], {"aot_tradeoff", "aot_fronts"}),
        ([record("none"), record("all"), *RECORDS], {"tradeoff", "aot_tradeoff"}),
        ([compiled("none", 4, None)], set()),
    ],
)
def test_plots_are_those_that_the_data_allow(tmp_path, monkeypatch, records, names):
    monkeypatch.setitem(plots.style._STYLE, "figure.dpi", 30)
    assert {path.stem for path in plots.write_plots(make_frame(records), tmp_path / "plots")} == names
