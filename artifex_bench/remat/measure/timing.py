"""Timing steps: every step blocked until its result is ready, every raw value kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

State = TypeVar("State")
Clock = Callable[[], float]
WARM_UP_SECONDS = 0.25


def time_steps(
    step: Callable[[State], State], state: State, steps: int, clock: Clock = time.perf_counter
) -> tuple[State, list[float]]:
    """Run `step` that many times, each on what the last returned; the state and the seconds of each step.

    `step` must itself wait for its result.
    """
    seconds = []
    for _ in range(steps):
        start = clock()
        state = step(state)
        seconds.append(clock() - start)
    return state, seconds


def warm_up(step: Callable[[State], State], state: State, clock: Clock = time.perf_counter) -> State:
    """Run `step` untimed until a quarter of a second has passed, once at least; the state.

    The first steps of a process take up to half as long again as those that follow: the heap grows, its pages are
    touched for the first time. Of steps that take a second that is hardly noticed.
    """
    start = clock()
    state = step(state)
    while clock() - start < WARM_UP_SECONDS:
        state = step(state)
    return state


class CpuShare:
    """The share of the machine's processor time that others took while a block ran (Linux; None elsewhere).

    A large share means that the timings were contended. Busy time of all processors comes from /proc/stat, this
    process's own from its clock.
    """

    def __enter__(self) -> CpuShare:
        self._start = (time.perf_counter(), _busy_seconds(), time.process_time())
        self.others: float | None = None
        return self

    def __exit__(self, *_: object) -> None:
        wall, busy, own = time.perf_counter() - self._start[0], _busy_seconds(), time.process_time()
        if busy is not None and self._start[1] is not None and wall > 0:
            taken = (busy - self._start[1]) - (own - self._start[2])
            self.others = min(1.0, max(0.0, taken / (wall * (os.cpu_count() or 1))))


def _busy_seconds() -> float | None:
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
