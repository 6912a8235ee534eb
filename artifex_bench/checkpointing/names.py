"""How steps are found on disk: as Orbax does, but a step whose own metadata is damaged is still found.

Orbax reads every step's time of commit when a manager is opened, and one damaged file would keep all steps from being
read. What the arrays hold is verified by their digests, whatever that file says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from orbax.checkpoint.path import step as steps

log = logging.getLogger(__name__)


class Step(steps.Metadata):
    """A step on disk; its time is the folder's where its metadata cannot be read."""

    @property
    def commit_timestamp_nsecs(self) -> int | None:
        """Nanoseconds since the epoch, or None."""
        try:
            found: int | None = super().commit_timestamp_nsecs
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("step %d: its metadata in %s cannot be read: %s", self.step, self.path, error)
            return None
        return found


class Names(steps.NameFormat):
    """Orbax's standard names: the step's number."""

    def __init__(self) -> None:
        self._standard = steps.standard_name_format()

    def build_name(self, step: int) -> str:
        """The folder's name."""
        return str(self._standard.build_name(step))

    def find_all(self, base_path: Any) -> Iterator[Step]:
        """Every committed step below a folder."""
        return (Step(found.step, found.path) for found in self._standard.find_all(base_path))

    def find_step(self, base_path: Any, step: int) -> Step:
        """That step. Raises ValueError where it is not there."""
        found = self._standard.find_step(base_path, step)
        return Step(found.step, found.path)
