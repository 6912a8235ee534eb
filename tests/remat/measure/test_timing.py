"""Timing with a fake clock: which steps are timed, in which order, and nothing else."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.remat.measure import timing
from artifex_bench.remat.measure.timing import CpuShare, time_steps, warm_up


class Clock:
    def __init__(self) -> None:
        self.now, self.log = 100.0, []

    def __call__(self) -> float:
        self.log.append("clock")
        return self.now


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e6), max_size=8))
def test_every_step_is_timed_by_itself_on_the_state_of_the_last(durations):
    clock = Clock()

    def step(state):
        clock.log.append(f"step {state}")
        clock.now += durations[state]
        return state + 1

    state, seconds = time_steps(step, 0, len(durations), clock)
    assert state == len(durations)
    assert seconds == pytest.approx(durations, abs=1e-6)
    assert clock.log == [entry for i in range(len(durations)) for entry in ("clock", f"step {i}", "clock")]


def test_no_steps_take_nothing():
    assert time_steps(lambda _: pytest.fail("a step was run"), "state", 0) == ("state", [])


@pytest.mark.parametrize(("seconds", "steps"), [(0.01, 25), (0.1, 3), (0.25, 1), (60.0, 1)])
def test_the_warm_up_ends_with_the_step_during_which_its_time_passes(seconds, steps):
    clock = Clock()
    clock.now = 0.0  # so that sums are exact enough

    def step(state):
        clock.now += seconds
        return state + 1

    assert warm_up(step, 0, clock) == steps


def test_an_error_of_a_step_is_raised():
    with pytest.raises(MemoryError):
        time_steps(lambda _: (_ for _ in ()).throw(MemoryError), None, 3)


def share(monkeypatch, wall, busy, own, processors=2):
    """Return the share that CpuShare reads while clocks advance by these seconds."""
    times = SimpleNamespace(
        perf_counter=iter([10.0, 10.0 + wall]).__next__, process_time=iter([1.0, 1.0 + own]).__next__
    )
    monkeypatch.setattr(timing, "time", times)
    monkeypatch.setattr(timing, "_busy_seconds", iter([50.0, None if busy is None else 50.0 + busy]).__next__)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    with CpuShare() as cpu:
        assert cpu.others is None
    return cpu.others


@pytest.mark.parametrize(
    ("busy", "own", "expected"),
    [
        pytest.param(20, 20, 0.0, id="alone"),
        pytest.param(20, 5, 0.75, id="contended"),
        pytest.param(10, 10, 0.0, id="half of the machine"),
        pytest.param(9.99, 10, 0.0, id="clock ticks: never below 0"),
        pytest.param(99, 0, 1.0, id="never above 1"),
        pytest.param(None, 5, None, id="no /proc/stat"),
    ],
)
def test_the_share_of_other_processes(monkeypatch, busy, own, expected):
    assert share(monkeypatch, wall=10, busy=busy, own=own) == (None if expected is None else pytest.approx(expected))


def test_busy_seconds_leave_idle_time_out(monkeypatch, tmp_path):
    ticks = os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"
    stat.write_text(f"cpu  {ticks} {2 * ticks} {4 * ticks} 999999 888888 {8 * ticks} {16 * ticks} {32 * ticks} 7 7\n")
    monkeypatch.setattr(timing, "Path", lambda _: stat)
    assert timing._busy_seconds() == 63
    monkeypatch.setattr(timing, "Path", lambda _: tmp_path / "none")
    assert timing._busy_seconds() is None
