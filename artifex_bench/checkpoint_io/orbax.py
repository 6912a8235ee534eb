"""Savers on Orbax: ours, with digests, and Orbax as its documentation shows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import v1

from artifex_bench.checkpointing import FORMATS, load_tree, save_tree, setup_checkpoint_manager
from artifex_bench.checkpointing.formats import choose_format
from artifex_bench.core.case import CheckpointCase, FaultCase

STEP = 1


def _is_asynchronous(case: CheckpointCase | FaultCase) -> bool:
    return isinstance(case, CheckpointCase) and case.mode == "async"


class _ManagerSaver:
    """A saver whose manager waits, reports and closes."""

    _manager: Any

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def done(self) -> bool:
        return not self._manager.is_saving_in_progress()

    def close(self) -> None:
        self._manager.close()


class Ours(_ManagerSaver):
    """`artifex_bench.checkpointing`, in the case's format."""

    def __init__(self, case: CheckpointCase | FaultCase, folder: Path):
        chunk = getattr(case, "chunk", None)
        format: Any = case.format
        if chunk is not None:
            layout = choose_format([str(i) for i in range(case.arrays)]) if format == "auto" else FORMATS[format]
            format = dataclasses.replace(layout, chunk_bytes=chunk)
        self._partial = getattr(case, "restore", "same") == "partial"
        self._manager, _ = setup_checkpoint_manager(folder, format=format, asynchronous=_is_asynchronous(case))

    def save(self, tree: Any) -> None:
        save_tree(self._manager, STEP, tree)

    def restore(self, template: Any) -> Any:
        return load_tree(self._manager, template, STEP, partial=self._partial)[0]


class Plain(_ManagerSaver):
    """`ocp.CheckpointManager` with `StandardSave`, as Orbax's guide shows it."""

    def __init__(self, case: CheckpointCase | FaultCase, folder: Path):
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=_is_asynchronous(case))
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, tree: Any) -> None:
        self._manager.save(STEP, args=ocp.args.StandardSave(tree))

    def restore(self, template: Any) -> Any:
        return self._manager.restore(STEP, args=ocp.args.StandardRestore(template))


class PlainV1:
    """`orbax.checkpoint.v1`: `save` or `save_async`, and `load`."""

    def __init__(self, case: CheckpointCase | FaultCase, folder: Path):
        self._path = folder.absolute() / "state"
        self._asynchronous = _is_asynchronous(case)
        self._response: Any = None

    def save(self, tree: Any) -> None:
        if self._asynchronous:
            self._response = v1.save_async(self._path, tree)
        else:
            v1.save(self._path, tree)

    def wait(self) -> None:
        if self._response is not None:
            self._response.result()

    def done(self) -> bool:
        return self._path.exists()

    def restore(self, template: Any) -> Any:
        return v1.load(self._path, template)

    def close(self) -> None:
        """Nothing is open."""
