"""Published claims checked against fabricated tables and against the reference runs."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core import store
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.frame import load_run
from tests.build import case, measured, record, taken
from validation import chen_2016, korthikanti_2022
from validation.__main__ import main
from validation.published_claims import CLAIMS, ZERO_TOLERANCE, check_claims, format_claims_markdown
from validation.reproduction import Reproduction

ROOT = Path(__file__).parent.parent.parent
H, A, B, S = 32, 4, 2, 16
SBH = S * B * H
EMBEDDING = 12345  # bytes and FLOPs that do not grow with the depth
NONE, SELECTIVE = "none", korthikanti_2022.SELECTIVE


def layer_table(bytes_per_layer, flops_per_layer=None, dtype="bfloat16", jax="0.10.2"):
    """The table of a run that traced two depths: by strategy the bytes (and FLOPs) that each layer adds."""
    flops_per_layer = flops_per_layer or {}
    return make_frame(
        [
            record(
                case(strategy, depth=depth, width=H, heads=A, batch=B, sequence=S, dtype=dtype),
                measurements=(
                    taken("residual_bytes", EMBEDDING + depth * size),
                    taken("gradient_flops", EMBEDDING + depth * flops_per_layer.get(strategy, 1e6)),
                ),
                environment={"versions": {"jax": jax}},
            )
            for strategy, size in bytes_per_layer.items()
            for depth in (2, 3)
        ]
    )


def check(table):
    """{name of the claim: (published, ours, whether they agree)}, for a table with one shape per claim."""
    return {
        claim.name: (reproduction.published, reproduction.ours, claim.agrees(reproduction))
        for claim, reproduction in check_claims(table)
    }


OUR_BYTES = 84 * SBH + 4 * A * S * S * B + S * B * (32 + 4 * A) + 8 * H  # of our layer, jax 0.10


def test_our_layer_differs_and_its_terms_explain_every_byte():
    table = layer_table({NONE: OUR_BYTES})
    assert check(table)["residuals"] == (44, OUR_BYTES / SBH, False)
    [layer] = korthikanti_2022.find_layers(table, NONE)
    assert layer.derived_residuals == layer.residuals[NONE]


@pytest.mark.parametrize(("jax", "values"), [("0.10.2", 4), ("0.11.1", 4), ("0.11.2", 3), ("0.12.0.1", 3)])
def test_gelu_values_depend_on_the_version_of_jax(jax, values):
    [layer] = korthikanti_2022.find_layers(layer_table({NONE: OUR_BYTES - (4 - values) * 8 * SBH}, jax=jax), NONE)
    assert layer.gelu_values == values
    assert layer.derived_residuals == layer.residuals[NONE]


def test_bytes_that_the_terms_do_not_explain_are_reported():
    [reason] = [r.reason for claim, r in check_claims(layer_table({NONE: OUR_BYTES - 64})) if claim.name == "residuals"]
    assert "-64 bytes" in reason


def test_the_papers_own_layer_agrees():
    results = check(layer_table({NONE: 34 * SBH + 5 * A * S * S * B, SELECTIVE: 34 * SBH}))
    assert results["residuals"][2]
    assert results["selective_residuals"] == (34, 34, True)
    published, ours, agrees = results["removed_share"]
    assert agrees
    assert published == pytest.approx(ours) == pytest.approx(10 / 44)


@pytest.mark.parametrize(("extra", "agrees"), [(0, True), (2 * A * S * S * B, False)])
def test_residuals_that_grow_with_the_square_of_the_sequence_are_detected(extra, agrees):
    assert check(layer_table({SELECTIVE: 28 * SBH + extra}))["quadratic_residuals"][2] == agrees


@pytest.mark.parametrize(("size", "agrees"), [(2, True), (2.001, False)])
def test_full_recomputation_saves_only_the_layers_input(size, agrees):
    assert check(layer_table({"all": size * SBH}))["full_residuals"][2] == agrees


def test_flops_of_the_papers_layer_agree():
    model = 72 * SBH * H * (1 + S / (6 * H))
    flops = {NONE: model, "all": model * 4 / 3, SELECTIVE: model + 12 * B * S * S * H}
    results = check(layer_table(dict.fromkeys(flops, OUR_BYTES), flops))
    assert all(results[name][2] for name in ("model_flops", "full_flops", "selective_flops"))


def test_formulas_take_the_bytes_of_a_value_from_the_dtype():
    [layer] = korthikanti_2022.find_layers(layer_table({NONE: OUR_BYTES}), NONE)
    assert layer.published_residuals == 34 + 5 * A * S / H
    [layer] = korthikanti_2022.find_layers(layer_table({NONE: OUR_BYTES}, dtype="float32"), NONE)
    assert layer.published_residuals == 2 * 32 + 2 + 9 * A * S / H


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["scan", "unroll"])
def test_the_terms_are_what_autodiff_saves_to_the_byte(dtype, layout):
    from artifex_bench.remat.measure.jaxprs import count_residual_bytes
    from tests.programs import build_program

    def residuals(depth):
        program = build_program(
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
        state, data = program.eval_shapes()
        return count_residual_bytes(program.loss, state["params"], state["rest"], data)

    layer = korthikanti_2022.Layer(H, A, B, S, dtype, layout, importlib.metadata.version("jax"), {}, {})
    assert layer.derived_residuals == residuals(3) - residuals(2)


def chain(depth, peaks, structure="segments", residuals_per_output=2.0):
    """An mlp with segments of each length that need the given bytes; a layer saves a multiple of its output."""
    mlp = {"model": "mlp", "sequence": None, "heads": None, "depth": depth, "width": 8, "batch": 4}
    saved = residuals_per_output * depth * 8 * 4 * 4
    cases = {NONE: 10**6 * depth, **{f"{structure}-{n}": peak for n, peak in peaks.items()}}
    return [
        record(case(name, **mlp), measurements=(*measured(residual=saved, peak=peak), taken("optimizer_bytes", 0)))
        for name, peak in cases.items()
    ]


def peaks_by_length(depth, cost):
    """n/k + cost k, in bytes, over lengths of powers of two."""
    return {k: 400 + 1000 * (depth / k + cost * k) for k in (2, 4, 8, 16, 32)}


def test_memory_that_is_least_at_the_root_agrees():
    assert check(make_frame(chain(64, peaks_by_length(64, 1))))["segment_length"] == (8, 8, True)


def test_layers_that_save_more_than_their_output_need_shorter_segments():
    table = make_frame(chain(64, peaks_by_length(64, 16), residuals_per_output=16))
    assert check(table)["segment_length"] == (8, 2, False)
    [reproduction] = chen_2016.compare_best_length(table)
    assert "sqrt(n / 16) = 2" in reproduction.reason


def test_three_lengths_are_no_curve():
    assert not check(make_frame(chain(64, dict(list(peaks_by_length(64, 1).items())[:3]))))


def test_memory_that_grows_as_the_root_agrees():
    lengths = (2, 4, 8, 16, 32)
    table = make_frame(
        [one for n in (16, 64, 256) for one in chain(n, {k: 5000 + 1000 * (n / k + k) for k in lengths})],
    )
    published, ours, agrees = check(table)["segment_growth"]
    assert (published, agrees) == (0.5, True)
    assert ours == pytest.approx(0.5)


def test_quoted_ratios_are_compared_with_timed_steps():
    def timed(strategy, seconds, peak):
        return record(strategy, measurements=(*measured((seconds,), peak=peak), taken("optimizer_bytes", 0)))

    results = check(make_frame([timed(NONE, 1.0, 10000), timed("all", 1.3, 8000), timed("every-2", 1.5, 7000)]))
    assert results["all_time"] == (1.3, 1.3, True)
    assert results["all_memory"] == (0.5, 0.8, False)
    assert results["selective_time"] == (1.15, 1.5, False)
    assert results["selective_memory"] == (0.7, 0.7, True)


@given(st.sampled_from(CLAIMS), st.floats(1e-3, 1e6), st.floats(-0.5, 0.5))
def test_agreement_depends_only_on_the_tolerance(claim, published, off):
    reproduction = Reproduction("", published, published * (1 + off), "")
    close = math.isclose(reproduction.ours, published, rel_tol=claim.tolerance, abs_tol=ZERO_TOLERANCE)
    assert claim.agrees(reproduction) == close
    assert claim.agrees(Reproduction("", published, published, ""))


@pytest.mark.parametrize("records", [[], [record(NONE, "failed"), record("all", "oom")]], ids=["empty", "failed"])
def test_a_run_without_results_gives_no_table(records):
    assert format_claims_markdown(make_frame(records)) == ""


REFERENCES = ("reference-papers", "reference-chen", "reference-papers-timed")


@pytest.mark.parametrize("name", REFERENCES)
def test_the_command_prints_the_committed_table_that_the_docs_show(name):
    folder = ROOT / "results" / name
    result = CliRunner().invoke(main, [str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout == (folder / "papers.md").read_text()
    assert result.stdout in (ROOT / "docs" / "papers.md").read_text()


def test_the_reference_runs_check_every_claim():
    checked = {claim.name for name in REFERENCES for claim, _ in check_claims(load_run(ROOT / "results" / name))}
    assert checked == {claim.name for claim in CLAIMS}
    assert len(checked) == len(CLAIMS)


@pytest.mark.parametrize("folder", ["results/reference-fault-quick", "results"], ids=["no claims", "no run"])
def test_a_run_that_cannot_be_checked_is_refused_in_one_line(folder):
    result = CliRunner().invoke(main, [str(ROOT / folder)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_write_puts_the_printed_table_into_the_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "records.jsonl"):
        (folder / name).write_bytes((ROOT / "results" / "reference-chen" / name).read_bytes())
    assert CliRunner().invoke(main, [str(folder)]).exit_code == 0
    assert not (folder / "papers.md").exists()
    result = CliRunner().invoke(main, [str(folder), "--write"])
    assert (folder / "papers.md").read_text() == result.stdout


@pytest.mark.parametrize(
    ("records", "reason"), [([], "no records"), ([record(NONE, "failed"), record("all", "oom")], "it was failed")]
)
def test_a_run_without_results_is_refused_with_the_true_reason(tmp_path, records, reason):
    store.create_run(tmp_path / "run", {"suite": "papers"})
    for one in records:
        store.append_record(tmp_path / "run", one)
    result = CliRunner().invoke(main, [str(tmp_path / "run")])
    assert result.exit_code == 2 and reason in result.stderr
