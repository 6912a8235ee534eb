"""How often to save: by the loss, or by the cost of a save and the mean time between failures. Imports no JAX."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass


class AdaptiveCheckpointing:
    """An interval between saves that is shorter while the loss is unstable and longer while it is calm.

    Call `should_checkpoint(step, loss)` at every step. A save is due once `current_interval` steps have passed since
    the last save, or since the first step. Step numbers need not be multiples of the interval.

    Between two saves the interval changes at most once. It is halved as soon as the loss is unstable, or doubled at the
    save if the loss never was. The loss is unstable if the standard deviation of the last `window` losses exceeds
    `threshold`, or one of them is not finite.

    Attributes:
        base_interval: The first interval, in steps.
        min_interval: The shortest interval, in steps.
        max_interval: The longest interval, in steps.
        threshold: Standard deviation of the loss above which it is unstable.
        window: Number of recent losses to look at.
        current_interval: The interval now, in steps.
        last_save: The step of the last save, or None before the first step.
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
        """Start with `base_interval`.

        Args:
            base_interval: The first interval, in steps.
            min_interval: The shortest interval, in steps, 1 or more.
            max_interval: The longest interval, in steps.
            threshold: Standard deviation of the loss above which it is unstable, 0 or more.
            window: Number of recent losses to look at, 2 or more.

        Raises:
            ValueError: If a value is out of range, or the intervals are not in order.
        """
        if not 1 <= min_interval <= base_interval <= max_interval:
            raise ValueError(
                f"min_interval {min_interval}, base_interval {base_interval}, max_interval {max_interval}: "
                "must be in this order, and 1 or more"
            )
        if window < 2:
            raise ValueError(f"window {window}: must be 2 or more")
        if not threshold >= 0:
            raise ValueError(f"threshold {threshold}: must be 0 or more")
        self.base_interval, self.min_interval, self.max_interval = base_interval, min_interval, max_interval
        self.threshold, self.window = threshold, window
        self.current_interval = base_interval
        self.last_save: int | None = None
        self._losses: deque[float] = deque(maxlen=window)
        self._forced = self._shortened = False

    def should_checkpoint(self, step: int, loss: float) -> bool:
        """Decide whether to save after this step. The step then counts as saved.

        Args:
            step: The step that was just finished.
            loss: Its loss, a number on the host.

        Returns:
            True if a save is due. Takes O(window) time.
        """
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
        """Count a save that you made for another reason, such as the end of an epoch. The interval starts again.

        Args:
            step: The saved step.
        """
        if len(self._losses) == self.window and not self._shortened:
            self.current_interval = min(self.max_interval, self.current_interval * 2)
        self.last_save, self._forced, self._shortened = step, False, False

    def force_checkpoint(self) -> bool:
        """Make a save due at the next step, whatever the interval.

        Returns:
            True, as in Artifex.
        """
        self._forced = True
        return True

    def is_unstable(self) -> bool:
        """Check the recent losses.

        Returns:
            True if their standard deviation exceeds the threshold, or one of them is not finite.
        """
        if not all(map(math.isfinite, self._losses)):
            return True
        return len(self._losses) == self.window and statistics.pstdev(self._losses) > self.threshold


def young_daly_interval(save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> float:
    """Compute the interval between saves that loses the least time.

    Young (1974) gives sqrt(2 save mtbf). This is the higher-order estimate of Daly (2006), which also holds if saves
    are not short against the mean time between failures (MTBF). For save >= 2 mtbf it is the MTBF itself.

    Args:
        save_seconds: Time for which a save blocks training, in seconds.
        mtbf_seconds: Mean time between failures, in seconds.
        restore_seconds: Time from a failure until training continues, in seconds. It is lost at every failure whatever
            the interval, so it does not change the result and is only checked.

    Returns:
        Training time between two saves, in seconds.

    Raises:
        ValueError: If a time is not finite and positive (restore: 0 or more).
    """
    _check_times(save_seconds, mtbf_seconds, restore_seconds)
    if save_seconds >= 2 * mtbf_seconds:
        return mtbf_seconds
    ratio = save_seconds / (2 * mtbf_seconds)
    return math.sqrt(2 * save_seconds * mtbf_seconds) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save_seconds


@dataclass(frozen=True)
class SavePlan:
    """How often to save, and the time that is lost with it.

    Attributes:
        steps: Steps between two saves, 1 or more.
        seconds: Training time between two saves, in seconds.
        lost: Expected share of the wall time that is not training, from 0 to 1.
    """

    steps: int
    seconds: float
    lost: float


def save_plan(step_seconds: float, save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> SavePlan:
    """Plan how often to save, by the Young/Daly interval in whole steps.

    Args:
        step_seconds: Time of a training step, in seconds.
        save_seconds: Time for which a save blocks training, in seconds.
        mtbf_seconds: Mean time between failures, in seconds.
        restore_seconds: Time from a failure until training continues, in seconds.

    Returns:
        The plan.

    Raises:
        ValueError: If a time is not finite and positive (restore: 0 or more).
    """
    if not step_seconds > 0:
        raise ValueError(f"step_seconds {step_seconds}: must be above 0")
    ideal = young_daly_interval(save_seconds, mtbf_seconds, restore_seconds)
    steps = max(1, round(ideal / step_seconds))
    seconds = steps * step_seconds
    return SavePlan(steps, seconds, lost_share(seconds, save_seconds, mtbf_seconds, restore_seconds))


def lost_share(interval_seconds: float, save_seconds: float, mtbf_seconds: float, restore_seconds: float = 0) -> float:
    """Compute the expected share of the wall time that is lost to saves, restores and repeated work.

    Daly (2006), exact if the times between failures are exponentially distributed. The expected wall time for each
    `interval_seconds` of training is mtbf exp(restore / mtbf) (exp((interval + save) / mtbf) - 1).

    Args:
        interval_seconds: Training time between two saves, in seconds.
        save_seconds: Time for which a save blocks training, in seconds.
        mtbf_seconds: Mean time between failures, in seconds.
        restore_seconds: Time from a failure until training continues, in seconds.

    Returns:
        The lost share, from 0 to 1.

    Raises:
        ValueError: If a time is not finite and positive (restore: 0 or more).
    """
    _check_times(save_seconds, mtbf_seconds, restore_seconds)
    if not interval_seconds > 0:
        raise ValueError(f"interval_seconds {interval_seconds}: must be above 0")
    exponent = (interval_seconds + save_seconds) / mtbf_seconds
    if exponent + restore_seconds / mtbf_seconds > 700:
        return 1.0
    wall = mtbf_seconds * math.exp(restore_seconds / mtbf_seconds) * math.expm1(exponent)
    return 1 - interval_seconds / wall


def _check_times(save_seconds: float, mtbf_seconds: float, restore_seconds: float) -> None:
    for name, value in (("save_seconds", save_seconds), ("mtbf_seconds", mtbf_seconds)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} {value}: must be above 0 and finite")
    if not 0 <= restore_seconds < math.inf:
        raise ValueError(f"restore_seconds {restore_seconds}: must be 0 or more and finite")
