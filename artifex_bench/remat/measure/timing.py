"""Timing of steps, with every raw value kept, and the share of processor time that other processes took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

State = TypeVar("State")
Clock = Callable[[], float]
# A process's first steps take up to 1.5 times as long as later ones, because its heap grows and its pages are touched
# for the first time. A longer warm-up would not help steps that take a second.
WARM_UP_SECONDS = 0.25


def time_steps(
    step: Callable[[State], State], state: State, steps: int, clock: Clock = time.perf_counter
) -> tuple[State, list[float]]:
    """Time steps, each on the state that the last one returned.

    Args:
        step: Returns the next state, and waits until it is ready.
        state: State of the first step.
        steps: Number of steps.
        clock: Returns seconds.

    Returns:
        The last state, and the seconds of each step.
    """
    seconds = []
    for _ in range(steps):
        start = clock()
        state = step(state)
        seconds.append(clock() - start)
    return state, seconds


def warm_up(step: Callable[[State], State], state: State, clock: Clock = time.perf_counter) -> State:
    """Run steps for `WARM_UP_SECONDS`, and at least one. Returns the last state."""
    start = clock()
    state = step(state)
    while clock() - start < WARM_UP_SECONDS:
        state = step(state)
    return state


class CpuShare:
    """Context that reads the share of the machine's processor time that other processes took.

    Busy time of all processors comes from /proc/stat, and this process's own time from its clock.

    Attributes:
        others: The share, from 0 to 1, once the block ended. None without /proc/stat.
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
