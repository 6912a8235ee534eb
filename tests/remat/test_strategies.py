"""Names of strategies: which are valid, the plans that they mean, and the checks of a case by the tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench import models
from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.models import drop_unused_axes
from artifex_bench.remat.case_checks import check_case
from artifex_bench.remat.planner.budget import Budget
from artifex_bench.remat.strategies import (
    POLICIES,
    STRATEGIES,
    Plan,
    Policy,
    list_strategies,
    parse_strategy,
)
from tests.build import case, replaced

ARGUMENTS = {
    "none": "",
    "names": ":query+key",
    "offload": ":query++key",
    "policies": ":dots_saveable++nothing_saveable",
}
depths = st.integers(1, 10_000)
lengths = st.integers(1, 10**6)
policies = st.sampled_from([name + ARGUMENTS[entry.arguments] for name, entry in POLICIES.items()])


@st.composite
def structures(draw):
    name = draw(st.sampled_from([*STRATEGIES, "attention-only", "mlp-only"]))
    if not name.endswith("<n>"):
        return name
    numbers = lengths.map(str)
    if STRATEGIES[name].sqrt:
        numbers |= st.just("sqrt")
    return name.replace("<n>", draw(numbers))


@given(structures(), st.none() | policies, depths)
def test_every_name_in_the_tables_parses_at_any_depth(structure, policy, depth):
    if policy is not None and structure == "none":
        with pytest.raises(CaseError, match="'none'"):
            parse_strategy(f"none/{policy}", depth)
        return
    plan = parse_strategy(structure if policy is None else f"{structure}/{policy}", depth)
    assert 1 <= plan.period <= depth
    assert len(plan.layers) == plan.period
    assert (plan.policy.name if plan.policy else None) == (policy.partition(":")[0] if policy else None)
    wraps = any(plan.layers) or plan.group or plan.part is not None
    assert wraps == (structure != "none")


@given(policies, depths)
def test_a_policy_alone_wraps_every_layer(policy, depth):
    assert parse_strategy(policy, depth) == parse_strategy(f"all/{policy}", depth)


@pytest.mark.parametrize(
    ("strategy", "plan"),
    [
        ("none", Plan()),
        ("all", Plan(1, (True,))),
        ("every-1", Plan(1, (True,))),
        ("every-3", Plan(3, (True, False, False))),
        ("every-99", Plan(9, (True, *[False] * 8))),  # at most as long as the stack
        ("segments-4", Plan(4, (False,) * 4, group=True)),
        ("segments-sqrt", Plan(3, (False,) * 3, group=True)),
        ("nested-2", Plan(2, (True, True), group=True)),
        ("attention-only", Plan(part="attention")),
        ("budget-0.5", Plan(1, (True,), budget=Budget("0.5", fraction=0.5))),
        ("budget-120MiB", Plan(1, (True,), budget=Budget("120MiB", bytes=120 * 2**20))),
        ("mlp-only/dots_saveable", Plan(part="mlp", policy=Policy("dots_saveable"))),
        ("save_only_these_names:a+b", Plan(1, (True,), policy=Policy("save_only_these_names", ("a", "b")))),
        (
            "save_and_offload_only_these_names:a++b+c",
            Plan(1, (True,), policy=Policy("save_and_offload_only_these_names", ("a",), ("b", "c"))),
        ),
        (
            "save_and_offload_only_these_names:++b",
            Plan(1, (True,), policy=Policy("save_and_offload_only_these_names", (), ("b",))),
        ),
        (
            "save_from_both_policies:dots_saveable++save_only_these_names:a",
            Plan(
                1,
                (True,),
                policy=Policy(
                    "save_from_both_policies",
                    policies=(Policy("dots_saveable"), Policy("save_only_these_names", ("a",))),
                ),
            ),
        ),
    ],
)
def test_plans_of_nine_layers(strategy, plan):
    assert parse_strategy(strategy, 9) == plan


@given(depths)
def test_sqrt_is_the_square_root_of_the_depth(depth):
    assert parse_strategy("segments-sqrt", depth).period == max(1, round(math.sqrt(depth)))


ALPHABET = st.sampled_from([*STRATEGIES, *POLICIES, *"abc019-/:+<>\n\x00é٣ "])
garbage = st.text(max_size=12) | st.lists(ALPHABET, max_size=6).map("".join)


@given(garbage, depths)
def test_garbage_is_refused_in_one_line_with_a_remedy(text, depth):
    try:
        plan = parse_strategy(text, depth)
    except CaseError as error:
        message = str(error)
        assert message.splitlines() == [message]
        assert repr(text) in message
        remedies = ("valid are", "did you mean", "must be", "write ", "takes no policy", "cannot join")
        assert any(words in message for words in remedies)
    else:
        assert len(plan.layers) == plan.period <= depth


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        *((name, list_strategies()) for name in ("", "some", "every-<n>")),
        ("every-0", ["'0'", "'every-'", "1 or more"]),
        ("every-sqrt", ["'sqrt'", "1 or more"]),
        ("segments-", ["''", "1 or more", "or sqrt"]),
        ("segments-2.5", ["'2.5'", "1 or more", "or sqrt"]),
        ("every-٣", ["'٣'", "1 or more"]),
        ("budget--3", ["'-3'", "from 0 to 1", "120MiB"]),
        ("budget-0.5/dots_saveable", ["budget-0.5 ", "no policy"]),
        ("all/", POLICIES),
        ("all/some", ["'some'", *POLICIES]),
        ("all/dots_savable", ["did you mean 'dots_saveable'?"]),
        ("none/dots_saveable", ["'none'", "no policy"]),
        ("dots_saveable:a", ["write dots_saveable ", "no arguments"]),
        ("save_only_these_names", ["write save_only_these_names:a+b "]),
        ("save_only_these_names:a++b", ["write save_only_these_names:a+b "]),
        ("save_from_both_policies:dots_saveable", ["write save_from_both_policies:policy++policy "]),
        (
            "save_from_both_policies:dots_saveable++offload_dot_with_no_batch_dims",
            ["offload", "save_from_both_policies"],
        ),
        ("save_and_offload_only_these_names:a", ["write save_and_offload_only_these_names:saved++offloaded "]),
    ],
)
def test_an_error_names_the_strategy_and_what_is_valid(strategy, named):
    with pytest.raises(CaseError) as raised:
        parse_strategy(strategy, 8)
    message = str(raised.value)
    assert message.splitlines() == [message] and f"strategy {strategy!r}: " in message
    assert [words for words in named if words not in message] == []


def test_a_number_of_thousands_of_digits_is_refused_like_any_other():
    """Python itself refuses to read more than 4300 digits."""
    with pytest.raises(CaseError, match="1 or more"):
        parse_strategy("every-" + "9" * 5000, 8)


def test_which_policies_offload():
    assert parse_strategy("offload_dot_with_no_batch_dims", 2).policy.offloads
    assert parse_strategy("save_and_offload_only_these_names:a++b", 2).policy.offloads
    assert not parse_strategy("save_from_both_policies:dots_saveable++nothing_saveable", 2).policy.offloads


def test_the_names_that_a_policy_mentions():
    policy = parse_strategy("save_from_both_policies:save_only_these_names:a+b++save_any_names_but_these:c", 2).policy
    assert policy.find_names() == {"a", "b", "c"}
    assert parse_strategy("save_and_offload_only_these_names:a++b", 2).policy.find_names() == {"a", "b"}


POLICY = "tests.remat.own_policy:save_sines"


def test_a_policy_of_the_users_own_is_named_by_its_module():
    own = Policy(POLICY)
    assert own.is_own and not own.offloads and own.find_names() == set()
    assert parse_strategy(POLICY, 4) == Plan(1, (True,), policy=own)
    assert parse_strategy(f"segments-2/{POLICY}", 4).policy == own
    both = parse_strategy(f"save_from_both_policies:dots_saveable++{POLICY}", 4).policy
    assert both.policies == (Policy("dots_saveable"), own)
    assert check_case(case(f"every-2/{POLICY}")).policy == own


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ("nowhere_at_all:policy", ["'nowhere_at_all:policy'", *POLICIES]),
        ("tests.remat.own_policy:save_sins", ["'save_sins'"]),
        ("tests.remat.own_policy:NO_FUNCTION", ["must be a function"]),
        ("save_only_these_name:query", ["did you mean 'save_only_these_names'?"]),
        ("save_from_both_policies:dots_saveable++nowhere_at_all:policy", ["'nowhere_at_all:policy'"]),
    ],
)
def test_a_policy_that_cannot_be_imported_is_one_line(strategy, named):
    with pytest.raises(CaseError) as raised:
        check_case(case(strategy))
    message = str(raised.value)
    assert message.splitlines() == [message] and [words for words in named if words not in message] == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": "gpt"}, ["'gpt'", *models.MODELS, "package.module:attribute"]),
        ({"width": 30, "heads": 4}, ["transformer", "width 30", "heads 4"]),
        ({"heads": None}, ["transformer", "width 32", "heads None"]),
        ({"model": "vae", "width": 1}, ["vae", "width 1", "2 or more"]),
        ({"strategy": "norm-only"}, ["'norm-only'", "transformer", "'norm'", "parts are attention, mlp"]),
        ({"model": "mlp", "strategy": "mlp-only"}, ["'mlp-only'", "'mlp'", "parts are none"]),
        (
            {"model": "mlp", "strategy": "save_only_these_names:linear+query"},
            ["'save_only_these_names:linear+query'", "mlp", "'query'", "tags are linear, relu"],
        ),
    ],
)
def test_a_case_is_checked_by_the_tables(fields, named):
    with pytest.raises(CaseError) as raised:
        check_case(case(**fields))
    assert [words for words in named if words not in str(raised.value)] == []


@pytest.mark.parametrize("model", models.MODELS)
def test_every_tag_and_part_of_a_model_may_be_named(model):
    entry = models.MODELS[model]
    tags = "+".join(entry.tags)
    assert set(check_case(case(f"save_only_these_names:{tags}", model=model)).policy.names) == set(entry.tags)
    assert [check_case(case(f"{part}-only", model=model)).part for part in entry.parts] == list(entry.parts)


def test_parts_and_tags_of_a_users_own_model_are_not_checked_before_it_is_built():
    assert check_case(case("router-only", model="my.package:Model")).part == "router"
    assert check_case(case("save_only_these_names:hidden", model="my.package:Model")).policy.names == ("hidden",)


def test_axes_that_a_model_does_not_have_are_dropped():
    wide = RematCase(model="mlp", sequence=64, heads=8)
    assert drop_unused_axes(wide) == replaced(wide, sequence=None, heads=None)
    assert drop_unused_axes(RematCase(sequence=64)) == RematCase(sequence=64)
    assert drop_unused_axes(RematCase(model="a:b", sequence=64)).sequence == 64
