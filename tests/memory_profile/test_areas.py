"""The stacked areas of a timeline sum to the live bytes, however small or equal ones are merged."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core.record import Record, record_from_json, record_to_json
from artifex_bench.memory_profile import LIVE, areas, measure
from artifex_bench.memory_profile.areas import FIXED, OTHER, Area
from artifex_bench.remat.measure.probes import take_probes
from tests.memory_profile.test_buffer_assignment import CASES, IDS
from tests.programs import compiled


@functools.cache
def profile(one):
    """The record of a case as it is stored and read again, without residuals and trace."""
    buffers = measure._measure_buffers(compiled(one).step, compiled(one).peak)
    measurements = (*take_probes("compiled", compiled(one)), *buffers)
    return record_from_json(record_to_json(Record(one, 0, "ok", measurements=measurements)))


def heights(found, count):
    """The bytes of all areas at each moment, one by one."""
    sums = [0.0] * count
    for area in found:
        for first, last, size in area.lives:
            for moment in range(first, last + 1):
                sums[moment] += size
    return sums


@pytest.mark.parametrize("one", CASES, ids=IDS)
def test_areas_of_real_programs_sum_to_the_live_bytes(one):
    record = profile(one)
    live = record.get(LIVE)
    found = areas.list_areas(record)
    assert heights(found, len(live.values)) == list(live.values)
    bands = [area for area in found if area.phase == FIXED and not area.operation]
    assert sum(area.largest for area in bands) == live.detail["throughout_bytes"]
    assert {"params", "batch"} <= {area.name for area in bands} <= {"params", "optimizer", "batch", "rest", "outputs"}
    for merged in (
        areas.merge_small(found, max(live.values) / 100, 5),
        areas.merge_kinds(found, lambda area: (area.scope, area.phase)),
    ):
        assert heights(merged, len(live.values)) == list(live.values)
        assert sum(area.buffers for area in merged) == sum(area.buffers for area in found)


def test_a_stack_that_a_loop_carries_is_one_buffer():
    """Values before, within and after a loop take turns in one place."""
    scanned = next(one for one in CASES if one.model == "transformer" and one.layers == "scan")
    found = [area for area in areas.list_areas(profile(scanned)) if area.operation == "dot_general, stacked"]
    assert found
    assert all(len(area.lives) == 1 for area in found)
    assert len({(area.name) for area in found}) == len(found)


lives = st.tuples(st.integers(0, 19), st.integers(0, 19), st.integers(1, 99)).map(lambda x: (*sorted(x[:2]), x[2]))
drawn = st.lists(
    st.builds(
        Area,
        st.sampled_from(["fusion.1", "dot.2"]),
        st.sampled_from(["", "mlp"]),
        st.sampled_from(["exp", "copy of params.a", "copy of params.b"]),
        st.sampled_from(["forward", "backward", FIXED]),
        st.just("f32[2]"),
        st.just(""),
        st.lists(lives, min_size=1, max_size=4).map(tuple),
    ),
    max_size=12,
)


@given(drawn, st.integers(0, 100), st.integers(0, 12))
def test_merging_keeps_every_byte(found, least, most):
    small = areas.merge_small(found, least, most)
    kinds = areas.merge_kinds(found, lambda area: (area.phase, areas.find_tree(area.operation)))
    for merged in (small, kinds):
        assert heights(merged, 20) == heights(found, 20)
        assert sum(area.buffers for area in merged) == len(found)
    own = [area for area in small if area.phase != OTHER]
    assert len(own) <= most and all(area.largest >= least for area in own)
    assert len({(area.phase, area.operation) for area in kinds}) == len(kinds)


@given(st.lists(lives, max_size=8))
def test_added_lives_do_not_overlap(found):
    added = list(areas.add_lives(found))
    ends = [-1, *(last for _, last, _ in added)]
    assert all(end < first <= last for end, (first, last, _) in zip(ends, added, strict=False))
