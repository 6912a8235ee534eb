"""The closed loop: with fakes for what compiles, then compiled for the attached device."""

from __future__ import annotations

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core.case import CaseError
from artifex_bench.remat.planner.budget import Budget, BudgetError, format_bytes, parse_budget
from artifex_bench.remat.planner.choices import RECOMPUTE_ALL, Blocks, JaxPolicy, NoRemat, SaveNamed
from artifex_bench.remat.planner.cost_model import Candidate
from artifex_bench.remat.planner.layer_choice import Part
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION
from artifex_bench.remat.planner.plan_file import read_choices, write_choices
from artifex_bench.remat.planner.search import MAX_COMPILATIONS, RUNS, Search
from artifex_bench.remat.planner.trial import CompiledStep
from artifex_bench.remat.strategies import Policy

MIB = 2**20


def candidates(count):
    """Each keeps a MiB more than the one before, and is a second faster; the last is no rematerialization."""
    plans = [Candidate("plan", {"s": ((i, NoRemat()),)}, i * MIB, i * MIB, float(count - i), 0.0) for i in range(count)]
    return plans, Candidate("none", {"s": ((count, NoRemat()),)}, 2 * count * MIB, 2 * count * MIB, 1.0, 0.0)


@given(st.integers(2, 40), st.data())
def test_never_over_the_budget_never_more_than_six_compilations(count, data):
    plans, plain = candidates(count)
    off = data.draw(st.lists(st.integers(-2 * MIB, 2 * MIB), min_size=count + 1, max_size=count + 1))
    peaks = {id(one): int(50 * MIB + one.bytes + error) for one, error in zip([*plans, plain], off, strict=True)}
    search = Search([*plans, plain], lambda one: CompiledStep(peaks[id(one)]), MAX_COMPILATIONS)
    asked = data.draw(st.integers(40, 150)) * MIB
    try:
        found = search.find_fastest(Budget("", bytes=asked), plans[0], plain)
    except BudgetError as error:
        assert all(t.peak > asked for t in search.trials)
        assert format_bytes(min(t.peak for t in search.trials)) in str(error)
    else:
        assert found.peak == peaks[id(found.candidate)] <= asked
        assert found.candidate.seconds == min(t.candidate.seconds for t in search.trials if t.peak <= asked)
    assert len(search.trials) <= MAX_COMPILATIONS
    assert len({id(t.candidate) for t in search.trials}) == len(search.trials)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75])
def test_with_estimates_that_are_a_fifth_off_it_comes_within_a_plan_of_the_best(fraction):
    plans, plain = candidates(30)
    search = Search([*plans, plain], lambda one: CompiledStep(int(50 * MIB + 1.2 * one.bytes)), MAX_COMPILATIONS)
    found = search.find_fastest(Budget("", fraction=fraction), plans[0], plain)
    best = max(one.bytes for one in plans if 50 * MIB + 1.2 * one.bytes <= search.limit)
    assert best - found.candidate.bytes <= MIB


def test_a_fraction_is_of_the_way_from_the_leanest_to_none():
    plans, plain = candidates(4)
    search = Search([*plans, plain], lambda one: CompiledStep(int(10 * MIB + one.bytes)), MAX_COMPILATIONS)
    search.find_fastest(Budget("", fraction=0.25), plans[0], plain)
    assert search.limit == 12 * MIB


def test_of_those_that_fit_the_fastest_as_measured_is_taken_and_named_policies_are_given_a_chance():
    """By the rates the second plan is the fastest; run, a named policy that computes less again is."""
    plans, plain = candidates(2)
    named = [
        Candidate(f"named-{i}", {"s": ((9 + i, NoRemat()),)}, i * MIB, i * MIB, 2.0 + i, -1.0 - i) for i in range(3)
    ]
    measured = {"plan": 0.5, "none": 0.4, "named-0": 0.3, "named-1": 0.2, "named-2": 0.1}

    def build(one):
        return CompiledStep(int(10 * MIB + one.bytes), lambda: measured[one.label])

    search = Search([*plans, *named, plain], build, MAX_COMPILATIONS)
    found = search.find_fastest(Budget("", bytes=11 * MIB), plans[0], plain)
    assert [t.candidate.label for t in search.trials] == ["plan", "plan", "named-2", "named-1"]
    assert found.candidate.label == "named-1"  # named-2 would be faster, and does not fit
    assert len(found.seconds) == RUNS
    assert [bool(t.seconds) for t in search.trials] == [True, True, False, True]


@pytest.mark.parametrize(
    ("asked", "reserve", "found"),
    [
        (Budget("", bytes=100 * MIB), 0.0, 6),
        (Budget("", bytes=100 * MIB), 2.5 * MIB, 3),
        (Budget("", bytes=100 * MIB), 50 * MIB, 2),  # 4 % at most
        (Budget("", bytes=94 * MIB), 8 * MIB, 0),  # nothing fits but without it
        (Budget("", fraction=0.6), 50 * MIB, 6),  # a fraction is of compiled peaks
    ],
)
def test_some_of_a_budget_is_left_to_the_process(asked, reserve, found):
    plans, _ = candidates(9)
    plain = Candidate("none", {"s": ((9, NoRemat()),)}, 10 * MIB, 10 * MIB, 9.0, 0.0)
    search = Search(
        [*plans, plain], lambda one: CompiledStep(int(94 * MIB + one.bytes)), MAX_COMPILATIONS, reserve=reserve
    )
    assert search.find_fastest(asked, plans[0], plain).candidate is plans[found]
    assert search.limit == (asked.bytes or 100 * MIB)


def test_a_plan_that_another_undercuts_says_so():
    """The second plan saves more than the policy, computes more again, and is the faster by the rates alone."""
    lean, plan = (Candidate("plan", {"s": ((i, NoRemat()),)}, i * MIB, i * MIB, 2.0 - i, 9.0 - i) for i in range(2))
    policy = Candidate("policy", {"s": ((9, NoRemat()),)}, 0.5 * MIB, MIB, 1.9, 3.0)
    search = Search([lean, plan, policy], lambda one: CompiledStep(int(10 * MIB + one.bytes)), MAX_COMPILATIONS)
    found = search.find_fastest(Budget("", bytes=20 * MIB), lean, lean)
    assert found.candidate == plan
    assert search.find_undercutting(found) == {
        "plan": "policy",
        "extra_flops": 3.0,
        "extra_seconds": 1.9,
        "peak": int(10.5 * MIB),
        "compiled": False,
    }
    assert search.find_undercutting(search.compile_candidate(policy)) is None


def test_a_function_without_layers_may_be_leanest_as_it_is():
    """What a plan of it computes again may be scheduled all at once."""
    plans = [Candidate("plan", {WHOLE_FUNCTION: ((1, NoRemat()),)}, i * MIB, i * MIB, 9.0 - i, 0.0) for i in range(9)]
    plain = Candidate("none", {WHOLE_FUNCTION: ((1, NoRemat()),)}, 20 * MIB, 20 * MIB, 9.0, 0.0)
    search = Search([*plans, plain], lambda one: CompiledStep((10 if one is plain else 30) * MIB), MAX_COMPILATIONS)
    assert search.find_fastest(Budget("", bytes=11 * MIB), plans[0], plain).candidate is plain
    assert [t.candidate for t in search.trials][:2] == [plans[0], plain]


def test_what_the_compiler_refuses_meets_no_budget():
    plans, plain = candidates(4)
    search = Search(
        [*plans, plain],
        lambda one: CompiledStep(int(10 * MIB + one.bytes), refused=one.bytes > 2 * MIB),
        MAX_COMPILATIONS,
    )
    found = search.find_fastest(Budget("", bytes=20 * MIB), plans[0], plain)
    assert found.candidate == plans[2]
    assert [t.to_json()["refused"] for t in search.trials if t.candidate == plans[3]] == [True]


def test_what_cannot_be_run_for_want_of_memory_is_not_taken_beside_what_can():
    plans, plain = candidates(2)

    def build(one):
        def fail():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

        return CompiledStep(int(10 * MIB + one.bytes), fail if one == plans[1] else lambda: 0.5)

    search = Search([*plans, plain], build, MAX_COMPILATIONS)
    found = search.find_fastest(Budget("", bytes=11 * MIB), plans[0], plain)
    assert found.candidate == plans[0] and len(found.seconds) == RUNS


def test_what_alone_fits_is_timed_too():
    plans, plain = candidates(2)
    search = Search([*plans, plain], lambda one: CompiledStep(int(10 * MIB + one.bytes), lambda: 0.5), MAX_COMPILATIONS)
    assert search.find_fastest(Budget("", bytes=10 * MIB), plans[0], plain).seconds == (0.5,) * RUNS


def test_where_nothing_runs_named_policies_are_compiled_for_what_the_rates_say_alone():
    plans, plain = candidates(2)
    named = Candidate("named", {"s": ((9, NoRemat()),)}, 0, 0, 2.0, -1.0)
    search = Search([*plans, named, plain], lambda one: CompiledStep(int(10 * MIB + one.bytes)), MAX_COMPILATIONS)
    found = search.find_fastest(Budget("", bytes=20 * MIB), plans[0], plain)
    assert [t.candidate for t in search.trials] == plans and found.candidate == plans[1] and not found.seconds


def test_what_was_chosen_can_be_kept_and_read_again(tmp_path):
    groups = {
        "scan-1": ((2, SaveNamed(frozenset(["a.1.0", "a.2.0"]), frozenset(["a.3.0"]))), (1, NoRemat())),
        "calls-1": ((3, JaxPolicy(Policy("dots_saveable"))), (4, Blocks((True, True), as_one=True))),
    }
    write_choices(tmp_path / "new" / "choice.json", groups)
    assert read_choices(tmp_path / "new" / "choice.json") == groups
    assert read_choices(tmp_path / "other.json") is None


@pytest.mark.parametrize("given", [-1, -0.5, "nan", float("nan"), "inf", True, None, "much", "", "12 parsecs", "0B"])
def test_what_is_no_budget_is_refused_in_a_line(given):
    with pytest.raises(CaseError, match="must be") as caught:
        parse_budget(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (0, Budget("0", 0.0)),
        (1, Budget("1", 1.0)),
        ("0.5", Budget("0.5", 0.5)),
        ("120MiB", Budget("120MiB", bytes=120 * MIB)),
        ("1B", Budget("1B", bytes=1)),
        (1e17, Budget("1e+17", bytes=10**17)),
        (4096, Budget("4096", bytes=4096)),
    ],
)
def test_what_is_a_budget(given, found):
    assert parse_budget(given) == found


@pytest.mark.parametrize("given", [1e20, 2**63])
def test_more_than_a_system_can_count_is_refused(given):
    with pytest.raises(BudgetError, match="less than 8 EiB"):
        parse_budget(given)


def test_no_budget_is_above_what_the_device_has():
    plans, plain = candidates(6)
    search = Search([*plans, plain], lambda one: CompiledStep(int(10 * MIB + one.bytes)), MAX_COMPILATIONS, 12 * MIB)
    assert search.find_fastest(Budget("", bytes=30 * MIB), plans[0], plain).candidate == plans[2]
    small = Search([*plans, plain], lambda one: CompiledStep(int(10 * MIB + one.bytes)), MAX_COMPILATIONS, 9 * MIB)
    with pytest.raises(BudgetError, match=r"budget 1GiB: 9 MiB.*capacity.*10 MiB"):
        small.find_fastest(Budget("1GiB", bytes=2**30), plans[0], plain)


def test_blocks_are_told_by_what_becomes_of_their_layers():
    turns, blocks = Blocks((True, False), as_one=False), Blocks((False, False), as_one=True)
    assert list(turns.split_alike(Part((0, 1, 2, 3, 4), 5, turns))) == [
        Part((0, 2, 4), 5, RECOMPUTE_ALL),
        Part((1, 3), 5, NoRemat()),
    ]
    assert list(turns.split_alike(Part((1, 2), 5, turns))) == [Part((1,), 5, NoRemat()), Part((2,), 5, RECOMPUTE_ALL)]
    assert list(blocks.split_alike(Part((0, 1), 2, blocks))) == [Part((0, 1), 2, blocks)]


def test_what_blocks_came_to_says_nothing_of_plans_that_take_layers_by_themselves():
    """Blocks seem the fastest that fit, and come to 20 MiB more than that; a plan that fits is found all the same."""
    plans, plain = candidates(6)
    blocks = Candidate("every-2", {"s": ((6, Blocks((True, True), as_one=True)),)}, 2 * MIB, 2 * MIB, 0.5, 0.0)
    assert blocks.in_blocks and not plans[0].in_blocks
    found = []

    def build(one):
        found.append(one.label)
        return CompiledStep(int(10 * MIB + one.bytes + (20 * MIB if one is blocks else 0)))

    search = Search([*plans, plain, blocks], build, MAX_COMPILATIONS)
    assert search.find_fastest(Budget("", bytes=14 * MIB), plans[0], plain).candidate == plans[4]
    assert found[:3] == ["plan", "every-2", "plan"]
    assert search.predict_peak(plans[5]) == 15 * MIB


def test_peaks_are_mended_by_what_is_saved_in_all():
    """Of two plans of the same estimate the one that saves more is off by more, as one that was compiled."""
    plans, plain = candidates(2)
    more, between = (Candidate("plan", {"s": ((n, NoRemat()),)}, 0.0, n * 4 * MIB, 1.0, 0.0) for n in (2, 1))
    search = Search([*plans, plain], lambda one: CompiledStep(int(10 * MIB + one.saved / 2)), MAX_COMPILATIONS)
    for one in (plans[0], more):
        search.compile_candidate(one)
    assert search.predict_peak(between) == 12 * MIB
