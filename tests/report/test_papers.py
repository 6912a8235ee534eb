"""Published claims against tables: each row's numbers, verdict and reason; the page and the reference runs agree."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.frame import load_run
from artifex_bench.report.papers import claims, korthikanti
from artifex_bench.report.papers.found import Found
from tests.build import case, measured, record, taken

ROOT = Path(__file__).parent.parent.parent
H, A, B, S = 32, 4, 2, 16
UNIT = S * B * H
EMBEDDING = 12345  # what does not grow with the depth


def layers(bytes_a_layer, flops_a_layer=None, dtype="bfloat16", jax="0.10.2"):
    """The table of a run that traced two depths: by strategy the bytes (and FLOPs) that each layer adds."""
    flops_a_layer = flops_a_layer or {}
    return make_frame(
        [
            record(
                case(strategy, depth=depth, width=H, heads=A, batch=B, sequence=S, dtype=dtype),
                measurements=(
                    taken("residual_bytes", EMBEDDING + depth * size),
                    taken("gradient_flops", EMBEDDING + depth * flops_a_layer.get(strategy, 1e6)),
                ),
                environment={"versions": {"jax": jax}},
            )
            for strategy, size in bytes_a_layer.items()
            for depth in (2, 3)
        ]
    )


def told(table):
    """claim -> (published, ours, verdict, why); one shape a claim."""
    return {row[0]: tuple(row[3:]) for row in claims.rows(table)}


def starting(found, words):
    [row] = [row for text, row in found.items() if text.startswith(words)]
    return row


NONE = "none"
OURS = 84 * UNIT + 4 * A * S * S * B + S * B * (32 + 4 * A) + 8 * H


def test_a_layer_as_ours_is_differs_and_is_explained_to_the_byte():
    published, ours, verdict, why = starting(told(layers({NONE: OURS})), "a layer keeps")
    assert (published, ours, verdict) == ("44 s b h", f"{OURS / UNIT:.4g} s b h", "differs")
    assert "Term by term (to the byte)" in why


@pytest.mark.parametrize(("jax", "gelu"), [("0.10.2", 4), ("0.11.1", 4), ("0.11.2", 3), ("0.12.0.1", 3)])
def test_how_much_gelu_keeps_depends_on_jax(jax, gelu):
    [one] = korthikanti.layers(layers({NONE: OURS - (4 - gelu) * 8 * UNIT}, jax=jax), NONE)
    assert one.gelu == gelu
    assert sum(term(one) for term in korthikanti.TERMS.values()) == one.residuals[NONE]


def test_what_the_terms_do_not_explain_is_said():
    assert "(-64 bytes unexplained)" in starting(told(layers({NONE: OURS - 64})), "a layer keeps")[3]


def test_a_layer_as_the_paper_has_it_agrees():
    table = layers({NONE: 34 * UNIT + 5 * A * S * S * B, korthikanti.SELECTIVE: 34 * UNIT})
    found = told(table)
    assert starting(found, "a layer keeps")[2] == "agrees"
    assert starting(found, "selective recomputation leaves 34")[:3] == ("34 s b h", "34 s b h", "agrees")
    assert starting(found, "selective recomputation saves")[:3] == ("22.7%", "22.7%", "agrees")


@pytest.mark.parametrize(("extra", "verdict"), [(0, "agrees"), (2 * A * S * S * B, "differs")])
def test_a_quadratic_part_that_is_left_is_seen(extra, verdict):
    table = layers({korthikanti.SELECTIVE: 28 * UNIT + extra})
    assert starting(told(table), "selective recomputation leaves nothing")[2] == verdict


@pytest.mark.parametrize(("size", "verdict"), [(2, "agrees"), (2.001, "differs")])
def test_full_recomputation_keeps_the_input_alone(size, verdict):
    assert starting(told(layers({"all": size * UNIT})), "full recomputation leaves")[2] == verdict


def test_flops_of_layers():
    model = 72 * UNIT * H * (1 + S / (6 * H))
    flops = {NONE: model, "all": model * 4 / 3, korthikanti.SELECTIVE: model + 12 * B * S * S * H}
    found = told(layers(dict.fromkeys(flops, OURS), flops))
    for words in ("forward and backward pass", "recomputing each layer", "selective recomputation adds"):
        assert starting(found, words)[2] == "agrees", words


def test_formulas_go_with_the_bytes_of_a_value():
    [one] = korthikanti.layers(layers({NONE: OURS}), NONE)
    assert one.published == 34 + 5 * A * S / H
    [one] = korthikanti.layers(layers({NONE: OURS}, dtype="float32"), NONE)
    assert one.published == 2 * 32 + 2 + 9 * A * S / H


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["scan", "unroll"])
def test_the_terms_are_what_autodiff_keeps_to_the_byte(dtype, layout):
    from artifex_bench.remat.measure.jaxprs import residual_bytes
    from tests.programs import build

    def residuals(depth):
        program = build(
            case(
                NONE,
                depth=depth,
                layers=layout,
                dtype=dtype,
                width=H,
                heads=A,
                batch=B,
                sequence=S,
                model="transformer",
            )
        )
        state, data = program.abstract()
        return residual_bytes(program.loss, state["params"], state["rest"], data)

    layer = korthikanti.Layer(H, A, B, S, dtype, layout, importlib.metadata.version("jax"), {}, {})
    assert sum(term(layer) for term in korthikanti.TERMS.values()) == residuals(3) - residuals(2)


def chain(depth, peaks, kind="segments", residual=2.0):
    """A chain of layers whose segments of each length need the given bytes; `residual` units are kept a layer."""
    mlp = {"model": "mlp", "sequence": None, "heads": None, "depth": depth, "width": 8, "batch": 4}
    kept = residual * depth * 8 * 4 * 4
    cases = {NONE: 10**6 * depth, **{f"{kind}-{n}": peak for n, peak in peaks.items()}}
    return [
        record(case(name, **mlp), measurements=(*measured(residual=kept, peak=peak), taken("optimizer_bytes", 0)))
        for name, peak in cases.items()
    ]


def curve(depth, cost):
    """n/k + cost k, in bytes, over lengths of powers of two."""
    return {k: 400 + 1000 * (depth / k + cost * k) for k in (2, 4, 8, 16, 32)}


def test_memory_that_is_least_at_the_root_agrees():
    published, ours, verdict, why = starting(told(make_frame(chain(64, curve(64, 1)))), "memory is least")
    assert (published, ours, verdict) == ("8", "8", "agrees")
    assert "keeps 2 times what it passes on" in why


def test_dear_layers_move_the_least_as_the_reason_says():
    found = starting(told(make_frame(chain(64, curve(64, 16), residual=16))), "memory is least")
    assert found[:3] == ("8", "2", "differs")
    assert "sqrt(n / 16) = 2" in found[3]


def test_three_lengths_are_no_curve():
    assert not told(make_frame(chain(64, dict(list(curve(64, 1).items())[:3]))))


def test_memory_that_grows_as_the_root_agrees():
    records = [
        one for n in (16, 64, 256) for one in chain(n, {k: 5000 + 1000 * (n / k + k) for k in (2, 4, 8, 16, 32)})
    ]
    published, ours, verdict, why = starting(told(make_frame(records)), "the least memory grows")
    assert (published, ours, verdict) == ("n^0.50", "n^0.50", "agrees")
    assert "the power is 1.00" in why


def test_typical_results_are_held_against_what_was_timed():
    def taking(strategy, seconds, peak):
        return record(strategy, measurements=(*measured((seconds,), peak=peak), taken("optimizer_bytes", 0)))

    table = make_frame([taking(NONE, 1.0, 10000), taking("all", 1.3, 8000), taking("every-2", 1.5, 7000)])
    found = told(table)
    verdicts = {
        words: starting(found, words)[2] for words in ("all: 1.3", "all: 0.5", "selective: 1.15", "selective: 0.7")
    }
    assert list(verdicts.values()) == ["agrees", "differs", "differs", "agrees"]


@given(st.sampled_from(claims.CLAIMS), st.floats(1e-3, 1e6), st.floats(-0.5, 0.5))
def test_a_verdict_is_about_the_tolerance_alone(claim, published, off):
    found = Found("", published, published * (1 + off), "")
    close = math.isclose(found.ours, published, rel_tol=claim.tolerance, abs_tol=claims.NOTHING)
    assert claim.verdict(found) == ("agrees" if close else "differs")
    assert claim.verdict(Found("", published, published, "")) == "agrees"


def test_a_run_in_which_all_failed_says_nothing():
    assert claims.markdown(make_frame([record(NONE, "failed"), record("all", "oom")])) == ""


@pytest.mark.parametrize(("suite", "written"), [("papers", True), ("remat", False)])
def test_a_report_holds_runs_of_the_suite_against_the_papers(tmp_path, suite, written):
    folder = tmp_path / "run"
    records = chain(64, curve(64, 1))
    store.create_run(folder, run_spec.run_spec_to_json(RunSpec(suite, tuple(one.case for one in records))))
    for one in records:
        store.append_record(folder, one)
    done = CliRunner().invoke(main, ["report", str(folder), "--no-plots"])
    assert done.exit_code == 0, done.output
    assert (folder / "papers.md").exists() == (str(folder / "papers.md") in done.output) == written


PAGE = ROOT / "docs" / "papers.md"
REFERENCES = ("reference-papers", "reference-chen", "reference-papers-timed")


@pytest.mark.parametrize("name", REFERENCES)
def test_the_page_holds_what_the_records_of_the_reference_runs_say(name):
    text = claims.markdown(load_run(ROOT / "results" / name))
    assert text
    assert (ROOT / "results" / name / "papers.md").read_text() == text
    assert text in PAGE.read_text()


def test_every_claim_is_held_against_a_reference_run():
    found = {row[0] for name in REFERENCES for row in claims.rows(load_run(ROOT / "results" / name))}
    assert found == {claim.text for claim in claims.CLAIMS}
