"""Cases: grids, ids, JSON."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core import case as cases
from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.core.case_names import case_id, case_label, changed_fields
from artifex_bench.core.convert import suggest_choice
from artifex_bench.core.fields import axis_names
from artifex_bench.core.grid import expand_grid, with_baselines
from tests import strategies as made
from tests.build import replaced

AXES = axis_names(RematCase)
SETTINGS = {
    "strategy": ("none", "all", "every-2", "dots_saveable"),
    "depth": (1, 2, 4, 8),
    "batch": (1, 8, 16),
    "dtype": ("float32", "bfloat16"),
    "layers": ("scan", "unroll"),
    "sequence": (None, 16, 128),
}
grids = st.fixed_dictionaries(
    {}, optional={a: st.lists(st.sampled_from(v), min_size=1, max_size=5) for a, v in SETTINGS.items()}
)


@given(grids)
def test_a_grid_is_every_combination_once_the_last_axis_fastest(axes):
    found = expand_grid(RematCase, **axes)
    combinations = list(dict.fromkeys(itertools.product(*axes.values())))
    assert [tuple(getattr(case, axis) for axis in axes) for case in found] == combinations
    untouched = [axis for axis in AXES if axis not in axes]
    assert all(getattr(case, axis) == getattr(RematCase(), axis) for case in found for axis in untouched)


def test_a_grid_takes_one_setting_a_list_or_a_range():
    assert expand_grid(RematCase, depth=3) == (RematCase(depth=3),)
    assert expand_grid(RematCase, depth=range(1, 3)) == (RematCase(depth=1), RematCase(depth=2))
    assert expand_grid(RematCase) == (RematCase(),)


def test_a_grid_refuses_unknown_axes_and_empty_lists():
    with pytest.raises(CaseError, match=r"'deep'.* model, strategy, depth"):
        expand_grid(RematCase, deep=3)
    with pytest.raises(CaseError, match="'depth'"):
        expand_grid(RematCase, depth=[])


@pytest.mark.parametrize("axis", ["depth", "width", "batch", "sequence", "heads"])
@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "4", True, float("nan")])
def test_sizes_are_whole_numbers_of_one_or_more(axis, value):
    with pytest.raises(CaseError) as raised:
        RematCase(**{axis: value})
    assert str(raised.value).startswith(f"{axis} {value!r}: ")


@pytest.mark.parametrize("axis", ["depth", "width", "batch"])
def test_only_sequence_and_heads_may_be_absent(axis):
    assert RematCase(sequence=None, heads=None).sequence is None
    with pytest.raises(CaseError, match=f"{axis} None"):
        RematCase(**{axis: None})


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, None])
def test_seeds_fit_32_bits(seed):
    with pytest.raises(CaseError, match="seed"):
        RematCase(seed=seed)


@pytest.mark.parametrize(
    ("axis", "valid"),
    [
        ("dtype", "bfloat16, float32"),
        ("layers", "scan, unroll"),
        ("step", "gradient, train"),
        ("optimizer", "adam, adamw, sgd"),
        ("compiler", "default, faithful"),
        ("remat3", "off, on"),
    ],
)
def test_unknown_choices_are_refused_with_the_valid_ones(axis, valid):
    with pytest.raises(CaseError) as raised:
        RematCase(**{axis: "nope"})
    assert axis in str(raised.value) and "'nope'" in str(raised.value) and valid in str(raised.value)


@pytest.mark.parametrize("axis", ["model", "strategy", "target"])
@pytest.mark.parametrize("value", ["", "  ", None, 3])
def test_models_strategies_and_targets_have_names(axis, value):
    with pytest.raises(CaseError, match=f"{axis} {value!r}"):
        RematCase(**{axis: value})


@given(made.cases, made.cases)
def test_distinct_cases_have_distinct_ids(one, other):
    assert (case_id(one) == case_id(other)) == (one == other)


def test_every_axis_changes_the_id():
    other = {"model": "mlp", "strategy": "all", "dtype": "bfloat16", "layers": "unroll", "step": "gradient"}
    other |= {"optimizer": "sgd", "compiler": "default", "target": "tpu:v5e", "mesh": "fsdp=8", "remat3": "on"}
    changed = {axis: replaced(RematCase(), **{axis: other.get(axis, 77)}) for axis in AXES}
    assert len({case_id(case) for case in (RematCase(), *changed.values())}) == len(AXES) + 1


@given(made.cases, st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_the_order_of_fields(case, random):
    fields = list(cases.case_to_json(case).items())
    random.shuffle(fields)
    assert case_id(cases.case_from_json(dict(fields))) == case_id(case)


@given(made.cases)
def test_a_field_left_at_its_default_does_not_change_the_id(case):
    """A record written before an axis existed keeps its id: the axis is absent, or at its default."""
    data = cases.case_to_json(case)
    spare = {"kind": data["kind"], **changed_fields(case)}
    assert cases.case_from_json(spare) == case
    assert case_id(cases.case_from_json(spare)) == case_id(case)
    assert all(getattr(case, axis) != getattr(RematCase(), axis) for axis in changed_fields(case))


@pytest.mark.parametrize(
    ("written", "kept", "devices"),
    [
        (None, None, 1),
        ("none", None, 1),
        ("data=1", None, 1),
        ("data=4,fsdp=2", "data=4,fsdp=2", 8),
        ("tensor=2, data=4", "data=4,tensor=2", 8),
        ("fsdp=08,tensor=1", "fsdp=8", 8),
    ],
)
def test_a_mesh_is_kept_in_one_form(written, kept, devices):
    case = RematCase(mesh=written)
    assert (case.mesh, case.devices) == (kept, devices)
    assert case == RematCase(mesh=kept)
    assert math.prod(cases.mesh_axes(case.mesh).values()) == devices


@pytest.mark.parametrize("mesh", ["", "data", "data=", "data=0", "data=-1", "data=2.", "rows=2", "data=2,data=2"])
def test_other_meshes_are_refused_with_the_valid_axes(mesh):
    with pytest.raises(CaseError) as raised:
        RematCase(mesh=mesh)
    assert f"mesh {mesh!r}" in str(raised.value) and "data, fsdp, tensor, or none" in str(raised.value)


def test_labels_and_baselines_keep_the_mesh():
    assert case_label(RematCase(mesh="fsdp=2")) == "transformer none depth=4 width=256 batch=8 mesh=fsdp=2"
    assert RematCase(strategy="all", mesh="fsdp=2").baseline == RematCase(mesh="fsdp=2")
    old = {name: value for name, value in cases.case_to_json(RematCase()).items() if name != "mesh"}
    assert cases.case_from_json(old) == RematCase()


def test_ids_are_stable():
    """Stored records are looked up by their ids."""
    assert case_id(RematCase()) == "transformer.none.f43abb3290"
    assert case_id(RematCase(strategy="all", depth=8)) == "transformer.all.22b30fc593"


def test_cases_for_the_local_target_run_and_others_are_only_compiled():
    assert RematCase().is_local and cases.CheckpointCase().is_local
    assert not RematCase(target="tpu:v5e").is_local
    assert RematCase(target="tpu:v5e", strategy="all").baseline == RematCase(target="tpu:v5e")


@given(made.cases)
def test_json_round_trip(case):
    assert cases.case_from_json(json.loads(json.dumps(cases.case_to_json(case)))) == case


def test_json_of_another_kind_or_with_unknown_fields_is_refused():
    good = cases.case_to_json(RematCase())
    with pytest.raises(CaseError, match=r"'fft'.* remat"):
        cases.case_from_json({**good, "kind": "fft"})
    with pytest.raises(CaseError, match="None"):
        cases.case_from_json({})
    with pytest.raises(CaseError, match="'colour'"):
        cases.case_from_json({**good, "colour": "red"})


def test_labels_show_sizes_always_and_other_defaults_never():
    assert case_label(RematCase()) == "transformer none depth=4 width=256 batch=8"
    label = case_label(RematCase(model="mlp", sequence=None, heads=None, dtype="bfloat16"))
    assert label == "mlp none depth=4 width=256 batch=8 dtype=bfloat16"


@given(st.lists(made.cases, max_size=6))
def test_every_case_comes_after_its_baseline(several):
    found = with_baselines(several)
    assert len(found) == len(set(found))
    assert set(found) == {*several, *(one.baseline for one in several)}
    for case in several:
        assert case.baseline.strategy == "none"
        assert found.index(case.baseline) <= found.index(case)


@pytest.mark.parametrize(
    ("value", "near"),
    [
        ("dots_savable", "dots_saveable"),
        ("offload_dot_with_no_batch_dim", "offload_dot_with_no_batch_dims"),
        ("speed", None),
        ("tpu:v9", None),  # another number is another thing
        ("tpv:v4", "tpu:v4"),
        (3, None),
    ],
)
def test_a_typo_gets_the_nearest_choice_and_other_values_get_all(value, near):
    valid = ["dots_saveable", "nothing_saveable", "offload_dot_with_no_batch_dims", "tpu:v4", "all"]
    assert suggest_choice(value, valid) == (f"did you mean {near!r}?" if near else f"valid are {', '.join(valid)}")
