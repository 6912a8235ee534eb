"""How often to save: by the loss, or by what a save costs and how often the machine fails. No JAX."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass


class AdaptiveCheckpointing:
    """The interval between saves, shorter while the loss is unstable and longer while it is calm.

    Call `should_checkpoint(step, loss)` at every step. A save is due once `current_interval` steps have passed since
    the last one (or since the first step seen), so that no interval is missed because a step number is not its
    multiple. From one save to the next the interval changes once at most: it is halved as soon as the loss is unstable,
    or doubled at the save if it never was. Unstable means that the standard deviation of the last `window` losses is
    above `threshold`, or that one of them is not finite.
    """

    def __init__(
        self,
        base_interval: int = 1000,
        min_interval: int = 500,
        max_interval: int = 5000,
        *,
        threshold: float = 0.1,
        window: int = 10,
    ) -> None:
        if not 1 <= min_interval <= base_interval <= max_interval:
            raise ValueError(
                f"intervals {min_interval}, {base_interval}, {max_interval}: "
                "must be 1 <= min_interval <= base_interval <= max_interval"
            )
        if window < 2 or not threshold >= 0:
            raise ValueError(f"window {window}, threshold {threshold}: must be 2 or more, and 0 or more")
        self.base_interval, self.min_interval, self.max_interval = base_interval, min_interval, max_interval
        self.threshold, self.window = threshold, window
        self.current_interval = base_interval
        self.last_save: int | None = None
        self._losses: deque[float] = deque(maxlen=window)
        self._forced = self._shortened = False

    def should_checkpoint(self, step: int, loss: float) -> bool:
        """True where a checkpoint is due after this step, which is then counted as saved. O(window), no device."""
        self._losses.append(float(loss))
        if self.last_save is None:
            self.last_save = step - 1
        if not self._shortened and self.is_unstable():
            self.current_interval = max(self.min_interval, self.current_interval // 2)
            self._shortened = True
        if not self._forced and step - self.last_save < self.current_interval:
            return False
        self.mark_saved(step)
        return True

    def mark_saved(self, step: int) -> None:
        """Count a checkpoint made for another reason (the end of an epoch), so that the interval starts anew."""
        if len(self._losses) == self.window and not self._shortened:
            self.current_interval = min(self.max_interval, self.current_interval * 2)
        self.last_save, self._forced, self._shortened = step, False, False

    def force_checkpoint(self) -> bool:
        """Make the next step's checkpoint due whatever the interval; True, as in the seed."""
        self._forced = True
        return True

    def is_unstable(self) -> bool:
        """True where the losses in the window spread more than the threshold, or one is not finite."""
        if not all(map(math.isfinite, self._losses)):
            return True
        return len(self._losses) == self.window and statistics.pstdev(self._losses) > self.threshold


def young_daly_interval(save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> float:
    """The seconds of training between saves that lose the least time in all.

    `save_seconds` is what a save holds training up, `mtbf_seconds` the mean time between failures, and
    `restore_seconds` the time until training goes on after one: it is paid at every failure whatever the interval,
    and so does not change the best one; it is taken so that impossible settings are refused.

    Young 1974 gives sqrt(2 save mtbf); this is the higher-order estimate of Daly 2006, which corrects it where saves
    are not short against the mean time between failures, and is that mean time itself where save >= 2 mtbf.
    Raises ValueError for times that are not positive (restore: negative).
    """
    _check(save_seconds, mtbf_seconds, restore_seconds)
    if save_seconds >= 2 * mtbf_seconds:
        return mtbf_seconds
    ratio = save_seconds / (2 * mtbf_seconds)
    return math.sqrt(2 * save_seconds * mtbf_seconds) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save_seconds


@dataclass(frozen=True)
class SavePlan:
    """An interval in steps and seconds, and the expected share of wall time that is lost with it (0 to 1)."""

    steps: int
    seconds: float
    lost: float


def save_plan(step_seconds: float, save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> SavePlan:
    """The Young/Daly interval in whole steps, 1 or more, and what it loses."""
    if not step_seconds > 0:
        raise ValueError(f"step_seconds {step_seconds}: must be above 0")
    ideal = young_daly_interval(save_seconds, mtbf_seconds, restore_seconds)
    steps = max(1, round(ideal / step_seconds))
    seconds = steps * step_seconds
    return SavePlan(steps, seconds, lost_share(seconds, save_seconds, mtbf_seconds, restore_seconds))


def lost_share(interval_seconds: float, save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> float:
    """The expected share of wall time that is not training: saving, restoring, and work done twice.

    Daly 2006, exact for exponentially distributed times between failures: the expected wall time for each
    `interval_seconds` of work is mtbf exp(restore / mtbf) (exp((interval + save) / mtbf) - 1).
    """
    _check(save_seconds, mtbf_seconds, restore_seconds)
    if not interval_seconds > 0:
        raise ValueError(f"interval_seconds {interval_seconds}: must be above 0")
    exponent = (interval_seconds + save_seconds) / mtbf_seconds
    if exponent + restore_seconds / mtbf_seconds > 700:
        return 1.0
    wall = mtbf_seconds * math.exp(restore_seconds / mtbf_seconds) * math.expm1(exponent)
    return 1 - interval_seconds / wall


def _check(save_seconds: float, mtbf_seconds: float, restore_seconds: float) -> None:
    for name, value in (("save_seconds", save_seconds), ("mtbf_seconds", mtbf_seconds)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} {value}: must be above 0 and finite")
    if not 0 <= restore_seconds < math.inf:
        raise ValueError(f"restore_seconds {restore_seconds}: must be 0 or more and finite")
