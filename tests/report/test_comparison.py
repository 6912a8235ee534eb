"""Two runs compared: what changed, by how much, and whether that is more than chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from artifex_bench.core.case import CaseError, FaultCase
from artifex_bench.core.case_names import case_label
from artifex_bench.core.record import Measurement, Record
from artifex_bench.report.comparison import (
    QUANTITIES,
    compare_runs,
    count_changes,
    find_environment_differences,
    find_unshared_cases,
)
from artifex_bench.report.comparison_data import Change, Reason
from artifex_bench.report.comparison_words import REASONS, describe_reason
from tests.build import case, measured, record, replaced, taken

HERE = {"platform": "cpu", "cores": 2, "versions": {"jax": "0.10.2"}, "load": 0.3}


def run(seed, time=1.0, memory=1.0, strategies=("none", "all"), rounds=3, steps=15, **changes):
    """A fabricated run whose steps scatter as on a busy machine; `time` and `memory` plant a change."""
    rng = np.random.default_rng(seed)
    found = []
    for strategy in strategies:
        for number in range(rounds):
            drift = rng.normal(1, 0.01)
            taken = [0.01 * time * drift * factor for factor in rng.lognormal(0, 0.05, steps)]
            how = measured(steps=taken, peak=1000 + 4000 * memory)
            found.append(record(case(strategy), round=number, measurements=how, environment={**HERE, **changes}))
    return found


def changes(found):
    return {(row.label.split()[1], row.quantity): row.change for row in found.itertuples()}


def test_a_slower_step_and_a_larger_peak_are_regressions_and_nothing_else_is():
    found = changes(compare_runs(run(1), run(2, time=1.3, memory=1.1)))
    assert {key for key, change in found.items() if change == "regression"} == {
        *((strategy, quantity) for strategy in ("none", "all") for quantity in ("step_seconds", "compiled_peak_bytes"))
    }
    assert set(found.values()) == {"regression", "same"}


def test_what_became_less_is_an_improvement():
    found = changes(compare_runs(run(1, time=1.3, memory=1.1), run(2)))
    assert found["all", "step_seconds"] == found["all", "compiled_peak_bytes"] == "improvement"


def test_ratios_are_new_over_base_with_their_interval():
    found = compare_runs(run(1), run(2, time=1.5)).set_index("quantity").loc["step_seconds"]
    assert (found.ratio_low < found.ratio).all() and (found.ratio < found.ratio_high).all()
    assert found.ratio.between(1.4, 1.6).all()


def test_equal_runs_give_few_false_alarms():
    """20 pairs with the same noise: at most one alarm in all."""
    alarms = sum((compare_runs(run(2 * i), run(2 * i + 1)).change != "same").sum() for i in range(20))
    assert alarms <= 1


def test_a_slowdown_of_a_fifth_is_found():
    """In at least 19 of 20 pairs."""
    hits = sum(
        "regression" in changes(compare_runs(run(2 * i), run(2 * i + 1, time=1.2)))["all", "step_seconds"]
        for i in range(20)
    )
    assert hits >= 19


def test_a_small_change_of_what_does_not_vary_is_always_found():
    found = compare_runs(run(1), run(2, memory=1.05))
    assert changes(found)["all", "compiled_peak_bytes"] == "regression"
    assert set(found[found.quantity == "compiled_peak_bytes"].reason) == {Reason.EXACT}


def test_beyond_the_threshold_without_significance_is_unsure():
    found = compare_runs(run(1, rounds=1, steps=1), run(2, rounds=1, steps=1, time=1.5))
    row = found[found.quantity == "step_seconds"].iloc[0]
    assert (row.change, row.reason) == (Change.UNSURE, Reason.TOO_FEW_ROUNDS)


def peaks(seed, factor=1.0, rounds=4):
    """Jobs whose measured peaks are one value each."""
    rng = np.random.default_rng(seed)
    steps = measured(steps=(0.01,) * 3)[:-1]
    values = 1e6 * factor * rng.lognormal(0, 0.005, rounds)
    return [record(round=i, measurements=(*steps, taken("measured_peak_bytes", v))) for i, v in enumerate(values)]


def test_a_measured_peak_is_one_value_a_process_and_is_compared_all_the_same():
    assert changes(compare_runs(peaks(1), peaks(2, 1.1)))["none", "measured_peak_bytes"] == "regression"
    assert changes(compare_runs(peaks(1), peaks(2)))["none", "measured_peak_bytes"] == "same"


def slowed(seed, every):
    """Steps of which one in so many takes twice as long."""
    rng = np.random.default_rng(seed)
    for number in range(8):
        steps = 0.01 * rng.lognormal(0, 0.01, 20)
        steps[::every] *= 2
        yield record(round=number, measurements=measured(steps=list(steps)))


def test_what_slows_most_steps_and_not_the_fastest_is_unsure():
    """It may be the program, or the machine."""
    calm, most = list(slowed(1, 20)), list(slowed(2, 1))
    for job in range(8):
        steps = list(most[job].get("step_seconds").values)
        most[job] = record(round=job, measurements=measured(steps=[0.01, *steps]))
    (row,) = (row for row in compare_runs(calm, most).itertuples() if row.quantity == "step_seconds")
    assert (row.change, row.reason) == (Change.UNSURE, Reason.MEDIANS_ONLY)
    assert row.ratio > 1.9 and row.least_ratio < 1.1 and row.tests == 1


def silent(count, trials=60, rounds=1):
    counts = {"detected_trials": trials - count, "intact_trials": 0, "silent_trials": count}
    measurements = tuple(Measurement(name, "trials", (float(n),), "count") for name, n in counts.items())
    return [Record(FaultCase(format="orbax"), i, "ok", measurements=measurements) for i in range(rounds)]


@pytest.mark.parametrize(
    ("base", "new", "change"), [(35, 36, "unsure"), (5, 40, "regression"), (40, 5, "improvement"), (3, 3, "same")]
)
def test_counts_of_trials_are_compared_as_counts(base, new, change):
    """Damage falls on places that differ from run to run: a trial more is no regression."""
    (row,) = compare_runs(silent(base), silent(new)).itertuples()
    assert (row.quantity, row.change) == ("silent_trials", change), row.reason


def test_trials_of_all_rounds_count_together():
    """Whatever the median round."""
    base, new = silent(0, rounds=10), [*silent(0, rounds=6), *silent(6, rounds=4)]
    (row,) = compare_runs(base, new).itertuples()
    assert (row.base, row.new, row.change) == (0, 2.4, "regression")


def test_thresholds_can_be_chosen_by_quantity():
    found = compare_runs(run(1), run(2, time=1.3), thresholds={"step_seconds": 0.5})
    assert changes(found)["all", "step_seconds"] == "same"
    assert count_changes(found).loc["step_seconds", "threshold"] == 0.5
    with pytest.raises(CaseError, match=r"'speed'.*step_seconds"):
        compare_runs(run(1), run(2), thresholds={"speed": 0.5})


@pytest.mark.parametrize(("before", "after", "change"), [("ok", "oom", "regression"), ("oom", "ok", "improvement")])
def test_a_case_that_failed_is_a_row_of_its_own(before, after, change):
    base, new = ([record(case("all"), status)] for status in (before, after))
    (row,) = compare_runs(base, new).itertuples()
    assert (row.quantity, row.change, row.reason) == ("status", change, Reason.STATUS)
    assert (row.base_status, row.new_status) == (before, after)
    assert {row.base_message, row.new_message} == {"", "it was oom"}


def test_runs_of_differing_environments_are_compared_only_when_asked():
    other = run(2, versions={"jax": "0.12.0"})
    with pytest.raises(CaseError, match=r"versions jax.*0.10.2.*0.12.0.*--across"):
        compare_runs(run(1), other)
    assert set(compare_runs(run(1), other, across=True).change) == {"same"}
    assert find_environment_differences(run(1), other) == {"versions jax": ("0.10.2", "0.12.0")}


def test_cases_that_one_run_has_alone_make_no_difference():
    more = run(3, strategies=("every-2",), devices=4)
    assert find_environment_differences(run(1, devices=1), [*run(2, devices=1), *more]) == {}
    assert "devices" in find_environment_differences(run(1, devices=1), run(2, devices=4))


def test_a_variable_that_is_set_to_nothing_is_not_set():
    assert find_environment_differences(run(1, flags={"JAX_PLATFORMS": ""}), run(2, flags={})) == {}
    assert find_environment_differences(run(1, flags={"JAX_PLATFORMS": "cpu"}), run(2, flags={})) == {
        "flags JAX_PLATFORMS": ("cpu", "nothing")
    }


def test_python_and_versions_are_named_first():
    new = run(2, flags={}, python="3.13.0", versions={"jax": "0.12.0"})
    found = find_environment_differences(run(1, flags={"A": "1"}, python="3.11.7"), new)
    assert list(found) == ["python", "versions jax", "flags A"]


def test_what_varies_by_the_minute_is_no_difference():
    assert find_environment_differences(run(1), run(2, load=9.0)) == {}


def test_runs_without_a_case_in_common_are_refused():
    with pytest.raises(CaseError, match="share no case"):
        compare_runs(run(1, strategies=("none",)), run(2, strategies=("all",)))


def disturbed(records, rounds):
    """The same records, others having used the processors in those rounds, whose steps took three times as long."""

    def busy(r):
        steps = taken("step_seconds", *(3 * s for s in r.get("step_seconds").values))
        others = taken("other_cpu_share", 0.4)
        kept = [m for m in r.measurements if m.probe not in (steps.probe, others.probe)]
        return replaced(r, measurements=(*kept, steps, others))

    return [busy(r) if r.round in rounds else r for r in records]


def test_times_that_others_disturbed_are_not_called_a_change():
    found = changes(compare_runs(run(1), disturbed(run(2, memory=1.1), range(3))))
    assert found["all", "step_seconds"] == "unsure"
    assert found["all", "compiled_peak_bytes"] == "regression"


def test_rounds_that_others_disturbed_are_left_out_where_three_remain():
    quiet = changes(compare_runs(run(1, rounds=8), disturbed(run(2, rounds=8), range(5))))
    assert quiet["all", "step_seconds"] == "same"
    slower = changes(compare_runs(run(1, rounds=8), disturbed(run(2, rounds=8, time=1.5), range(5))))
    assert slower["all", "step_seconds"] == "regression"
    assert (
        changes(compare_runs(run(1, rounds=8), disturbed(run(2, rounds=8), range(6))))["all", "step_seconds"]
        == "unsure"
    )


def test_a_run_without_any_environment_is_compared():
    silent = [replaced(r, status="timeout", reason="60 s", measurements=(), environment={}) for r in run(2)]
    assert find_environment_differences(run(1), silent) == {}
    assert set(compare_runs(run(1), silent).change) == {"regression"}


def test_each_quantity_is_one_that_is_measured():
    from artifex_bench.checkpoint_io import corruption, save_restore
    from artifex_bench.remat.measure import probes

    assert set(QUANTITIES) <= {*probes.PROBES, *save_restore.PROBES, *corruption.PROBES}
    assert all(dataclasses.asdict(quantity)["threshold"] >= 0 for quantity in QUANTITIES.values())


def test_cases_that_only_one_run_has_are_listed():
    unshared = find_unshared_cases(run(1), run(2, strategies=("none", "every-2")))
    assert unshared == {"base": [case_label(case("all"))], "new": [case_label(case("every-2"))]}


def test_every_reason_has_words_with_its_numbers():
    assert {*REASONS, Reason.STATUS, Reason.WITHIN_THRESHOLD} == set(Reason)
    found = compare_runs(run(1), run(2, time=1.3)).set_index("quantity")
    row = found.loc["step_seconds"].iloc[0]
    assert all(
        number in describe_reason(row) for number in (f"{row.least_ratio:.2f}x", f"{row.p:.2g}", f"{row.tests:.0f}")
    )
    assert "0%" in describe_reason(found.loc["residual_bytes"].iloc[0])
    (failed,) = compare_runs([record(case("all"))], [record(case("all"), "oom")]).itertuples()
    assert all(word in describe_reason(failed) for word in ("ok", "oom", "it was oom"))
