"""Names of strategies: what parses, to which plan, and what is refused how."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench import models
from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.remat.planner.budget import Budget
from artifex_bench.remat.strategies import POLICIES, STRATEGIES, Plan, Policy, check, fit, names, parse
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
        with pytest.raises(CaseError, match="'none' rematerializes nothing and takes no policy"):
            parse(f"none/{policy}", depth)
        return
    plan = parse(structure if policy is None else f"{structure}/{policy}", depth)
    assert 1 <= plan.period <= depth
    assert len(plan.layers) == plan.period
    assert (plan.policy.name if plan.policy else None) == (policy.partition(":")[0] if policy else None)
    wraps = any(plan.layers) or plan.group or plan.part is not None
    assert wraps == (structure != "none")


@given(policies, depths)
def test_a_policy_alone_wraps_every_layer(policy, depth):
    assert parse(policy, depth) == parse(f"all/{policy}", depth)


@pytest.mark.parametrize(
    ("strategy", "plan"),
    [
        ("none", Plan()),
        ("all", Plan(1, (True,))),
        ("every-1", Plan(1, (True,))),
        ("every-3", Plan(3, (True, False, False))),
        ("every-99", Plan(9, (True, *[False] * 8))),  # no longer than the stack
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
    assert parse(strategy, 9) == plan


@given(depths)
def test_sqrt_is_the_square_root_of_the_depth(depth):
    assert parse("segments-sqrt", depth).period == max(1, round(math.sqrt(depth)))


ALPHABET = st.sampled_from([*STRATEGIES, *POLICIES, *"abc019-/:+<>\n\x00é٣ "])
garbage = st.text(max_size=12) | st.lists(ALPHABET, max_size=6).map("".join)


@given(garbage, depths)
def test_garbage_is_refused_in_one_line_with_the_valid_choices(text, depth):
    try:
        plan = parse(text, depth)
    except CaseError as error:
        said = str(error)
        assert said.splitlines() == [said]
        assert repr(text) in said
        remedies = ("valid are", "did you mean", "must be", "write ", "takes no policy", "cannot join")
        assert any(word in said for word in remedies)
    else:
        assert len(plan.layers) == plan.period <= depth


@pytest.mark.parametrize(
    ("strategy", "error"),
    [
        ("", f"unknown strategy '': valid are {', '.join(names())}"),
        ("some", f"unknown strategy 'some': valid are {', '.join(names())}"),
        ("every-<n>", f"unknown strategy 'every-<n>': valid are {', '.join(names())}"),
        ("every-0", "strategy 'every-0': '0' after 'every-' must be a whole number of 1 or more"),
        ("every-sqrt", "strategy 'every-sqrt': 'sqrt' after 'every-' must be a whole number of 1 or more"),
        ("segments-", "strategy 'segments-': '' after 'segments-' must be a whole number of 1 or more, or sqrt"),
        (
            "segments-2.5",
            "strategy 'segments-2.5': '2.5' after 'segments-' must be a whole number of 1 or more, or sqrt",
        ),
        ("every-٣", "strategy 'every-٣': '٣' after 'every-' must be a whole number of 1 or more"),
        (
            "budget--3",
            "strategy 'budget--3': budget '-3': must be a fraction from 0 to 1, or bytes such as 120MiB, 8GiB or "
            "16000000000",
        ),
        (
            "budget-0.5/dots_saveable",
            "strategy 'budget-0.5/dots_saveable': budget-0.5 chooses what is saved and takes no policy",
        ),
        ("all/", f"strategy 'all/': a policy must follow the slash: valid are {', '.join(POLICIES)}"),
        ("all/some", f"strategy 'all/some': unknown policy 'some': valid are {', '.join(POLICIES)}"),
        ("none/dots_saveable", "strategy 'none/dots_saveable': 'none' rematerializes nothing and takes no policy"),
        ("dots_saveable:a", "strategy 'dots_saveable:a': write dots_saveable (it takes no arguments)"),
        (
            "save_only_these_names",
            "strategy 'save_only_these_names': write save_only_these_names:a+b (names of tagged values)",
        ),
        (
            "save_only_these_names:a++b",
            "strategy 'save_only_these_names:a++b': write save_only_these_names:a+b (names of tagged values)",
        ),
        (
            "save_from_both_policies:dots_saveable",
            "strategy 'save_from_both_policies:dots_saveable': write save_from_both_policies:policy++policy "
            "(two policies)",
        ),
        (
            "save_from_both_policies:dots_saveable++offload_dot_with_no_batch_dims",
            "strategy 'save_from_both_policies:dots_saveable++offload_dot_with_no_batch_dims': "
            "JAX cannot join offload policies with save_from_both_policies",
        ),
        (
            "save_and_offload_only_these_names:a",
            "strategy 'save_and_offload_only_these_names:a': write "
            "save_and_offload_only_these_names:saved++offloaded (names to offload after ++)",
        ),
    ],
)
def test_what_is_refused_says_why(strategy, error):
    with pytest.raises(CaseError) as raised:
        parse(strategy, 8)
    assert str(raised.value) == error


def test_a_number_beyond_all_measure_is_refused_like_any_other():
    """Python itself refuses to read more than 4300 digits."""
    with pytest.raises(CaseError, match="must be a whole number of 1 or more"):
        parse("every-" + "9" * 5000, 8)


def test_which_policies_offload():
    assert parse("offload_dot_with_no_batch_dims", 2).policy.offloads()
    assert parse("save_and_offload_only_these_names:a++b", 2).policy.offloads()
    assert not parse("save_from_both_policies:dots_saveable++nothing_saveable", 2).policy.offloads()


def test_the_names_that_a_policy_mentions():
    policy = parse("save_from_both_policies:save_only_these_names:a+b++save_any_names_but_these:c", 2).policy
    assert policy.all_names() == {"a", "b", "c"}
    assert parse("save_and_offload_only_these_names:a++b", 2).policy.all_names() == {"a", "b"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"model": "gpt"},
            "unknown model 'gpt': valid are mlp, transformer, vae, package.module:attribute",
        ),
        ({"width": 30, "heads": 4}, "transformer: width 30 is not divisible by heads 4: choose a multiple"),
        ({"heads": None}, "transformer: width 32 is not divisible by heads None: choose a multiple"),
        ({"model": "vae", "width": 1}, "vae: width 1: the vae halves it for its latents; choose 2 or more"),
        (
            {"strategy": "norm-only"},
            "strategy 'norm-only': layers of transformer have no part 'norm': parts are attention, mlp",
        ),
        (
            {"model": "mlp", "strategy": "mlp-only"},
            "strategy 'mlp-only': layers of mlp have no part 'mlp': parts are none",
        ),
        (
            {"model": "mlp", "strategy": "save_only_these_names:linear+query"},
            "strategy 'save_only_these_names:linear+query': mlp tags nothing 'query': its names are linear, relu",
        ),
    ],
)
def test_cases_are_held_against_the_tables(fields, error):
    with pytest.raises(CaseError) as raised:
        check(case(**fields))
    assert str(raised.value) == error


@pytest.mark.parametrize("model", models.MODELS)
def test_every_tag_and_part_of_a_model_may_be_named(model):
    entry = models.MODELS[model]
    tags = "+".join(entry.tags)
    assert set(check(case(f"save_only_these_names:{tags}", model=model)).policy.names) == set(entry.tags)
    assert [check(case(f"{part}-only", model=model)).part for part in entry.parts] == list(entry.parts)


def test_parts_and_tags_of_a_model_of_the_users_own_are_not_known_before_it_is_built():
    assert check(case("router-only", model="my.package:Model")).part == "router"
    assert check(case("save_only_these_names:hidden", model="my.package:Model")).policy.names == ("hidden",)


def test_axes_that_a_model_does_not_have_are_dropped():
    wide = RematCase(model="mlp", sequence=64, heads=8)
    assert fit(wide) == replaced(wide, sequence=None, heads=None)
    assert fit(RematCase(sequence=64)) == RematCase(sequence=64)
    assert fit(RematCase(model="a:b", sequence=64)).sequence == 64
