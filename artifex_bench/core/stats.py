"""Statistics of raw values: pure functions whose results have the unit of their arguments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """A median with its bootstrap 95 % interval; `low` and `high` are None if there is one sample only."""

    median: float
    low: float | None
    high: float | None
    samples: int
    rounds: int


def summarize(rounds: Sequence[Sequence[float]]) -> Summary | None:
    """Return the median and its bootstrap 95 % interval; None without samples.

    Samples of one process are not independent. Rounds are therefore resampled first and samples within them second (a
    two-stage bootstrap: Davison & Hinkley 1997, section 3.8). With a single round the interval covers only the spread
    within that process.

    Args:
        rounds: The samples of each round. A round is one process.
    """
    groups = [np.asarray(values, float) for values in rounds if len(values)]
    if not groups:
        return None
    pooled = np.concatenate(groups)
    if pooled.size == 1:
        return Summary(float(pooled[0]), None, None, 1, 1)
    low, high = np.quantile(bootstrap_medians(groups), (0.025, 0.975))
    return Summary(float(np.median(pooled)), float(low), float(high), int(pooled.size), len(groups))


def bootstrap_medians(groups: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the medians of two-stage resamples of the groups, shape (resamples,). One seed gives one result."""
    rng = np.random.default_rng(seed)
    sizes = np.array([group.size for group in groups])
    padded = np.full((len(groups), sizes.max()), np.inf)  # groups differ in length, and padding sorts to the end
    for row, group in zip(padded, groups, strict=True):
        row[: group.size] = group
    picks = rng.integers(len(groups), size=(resamples, len(groups), 1))
    draws = rng.integers(sizes[picks], size=(resamples, *padded.shape))
    drawn = np.where(np.arange(padded.shape[1]) < sizes[picks], padded[picks, draws], np.inf)
    ordered = np.sort(drawn.reshape(resamples, -1), axis=1)
    middle = sizes[picks].sum(axis=1)
    halves = np.take_along_axis(ordered, np.hstack([(middle - 1) // 2, middle // 2]), axis=1)
    return np.asarray(halves.mean(axis=1))


def pooled_median(groups: Sequence[Sequence[float]]) -> float:
    """Return the median of all values of all groups."""
    return float(np.median(np.concatenate([np.asarray(group) for group in groups])))


def bootstrap_ratios(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> np.ndarray | None:
    """Return the ratios of the medians of two-stage resamples, shape (RESAMPLES,).

    None if a side has fewer than two samples, or if a value in `below` is not above zero.
    """
    if min(sum(map(len, side)) for side in (above, below)) < 2 or min(map(min, below)) <= 0:
        return None
    resampled = (bootstrap_medians([np.asarray(g) for g in groups], seed=i) for i, groups in ((1, above), (2, below)))
    return np.asarray(next(resampled) / next(resampled))


def least_ratio(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Compare the least values of the rounds of two sides.

    Interference only makes steps slower, so that the least time of a round varies less than its median (Chen & Revels
    2016). A round counts as one sample, because the times of one process are not independent.

    Returns:
        The ratio of geometric means, and the two-sided p of a difference (Welch's t test of the logarithms). None if a
        side has fewer than two rounds, or if a value is not above zero.
    """
    from scipy import stats  # slow to import

    leasts = [np.array([min(group) for group in side]) for side in (above, below)]
    if min(map(len, leasts)) < 2 or min(side.min() for side in leasts) <= 0:
        return None
    logs = [np.log(side) for side in leasts]
    ratio = float(np.exp(logs[0].mean() - logs[1].mean()))
    if max(np.ptp(side) for side in logs) == 0:
        return ratio, float(logs[0][0] == logs[1][0])
    with warnings.catch_warnings():  # for a side that does not vary
        warnings.simplefilter("ignore", RuntimeWarning)
        return ratio, float(stats.ttest_ind(*logs, equal_var=False).pvalue)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points on the Pareto front (less is better), sorted by the first coordinate.

    A point is not on the front if another is no worse in both coordinates and better in one. Equal points share it.
    """
    order = sorted(range(len(points)), key=lambda i: points[i])
    front: list[int] = []
    best = float("inf")
    for i in order:
        if points[i][1] < best or (front and points[i] == points[front[-1]]):
            front.append(i)
            best = points[i][1]
    return front


def wilson_interval(count: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927), with 95 % by default: 0 of 60 gives 0 to 0.06.

    Args:
        count: The trials with the outcome.
        trials: All trials; at least 1.
        z: The quantile of the normal distribution.
    """
    share, weight = count / trials, z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - reach), min(1.0, middle + reach)
