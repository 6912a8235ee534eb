"""What was said of a step when it was saved is given back as it was said, or refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from artifex_bench.checkpointing import CorruptCheckpointError, Retention, save_tree
from tests.checkpointing.conftest import catch_error
from tests.checkpointing.test_retention import METADATA, METRICS, TREE, change_manifest, flips

PLAIN = ocp.args.Composite(tree=ocp.args.PyTreeSave({"w": np.ones(3)}))


@pytest.mark.parametrize("file", [METADATA, METRICS])
def test_metadata_that_differs_from_what_was_saved_is_refused(manager_at, file):
    manager = manager_at()
    manager.save(1, args=PLAIN, metrics={"loss": 1.5}, custom_metadata={"run": 7})
    logging.disable(logging.CRITICAL)
    seen = set()
    for _ in flips(manager.step_directory(1) / file, stride=37 if file == METADATA else 3):
        try:
            found = manager.metadata(1)
        except CorruptCheckpointError:
            seen.add("refused")
            continue
        seen.add("the same")
        assert found.metrics == {"loss": 1.5} and found.custom_metadata["run"] == 7
    logging.disable(logging.NOTSET)
    assert "refused" in seen
    assert manager.metadata(1).custom_metadata["run"] == 7


ODD_METADATA = [
    {"list": [1, (2, 3)], "none": None, "text": "ü\n", "dict": {"x": {}}},
    {"nan": float("nan"), "inf": float("inf"), "big": 10**30},
    {},
]


@pytest.mark.parametrize("custom", ODD_METADATA, ids=str)
def test_undamaged_metadata_is_not_called_damaged(manager_at, custom):
    manager = manager_at()
    manager.save(1, args=PLAIN, metrics={"loss": float("nan")}, custom_metadata=custom)
    assert json.dumps(custom) == json.dumps(
        {name: value for name, value in manager.metadata(1).custom_metadata.items() if name != "artifex_bench"}
    )


NO_METADATA = [[1], "text", {1: 2}, {"x": np.float32(1)}, {"x": {1}}, {"x": "\ud800"}, {"artifex_bench": {}}]


@pytest.mark.parametrize("custom", NO_METADATA, ids=repr)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_metadata_that_json_does_not_hold_is_refused_and_nothing_is_written(manager_at, custom, asynchronous):
    manager = manager_at(asynchronous=asynchronous)
    assert "custom_metadata" in str(catch_error(ValueError, manager.save, 1, args=PLAIN, custom_metadata=custom))
    assert "metrics" in str(catch_error(ValueError, manager.save, 1, args=PLAIN, metrics=[1]))
    assert list(Path(manager.directory).iterdir()) == []


def test_a_pin_of_which_a_later_release_says_more_is_kept(manager_at):
    manager = save_tree(manager_at(), 1, TREE, keep=True)
    manager.close()
    change_manifest(manager.step_directory(1), lambda document: document["info"].update(reason="best so far"))
    assert save_tree(manager_at(retention=Retention(last=1)), 2, TREE).all_steps() == [1, 2]


@pytest.mark.parametrize("kind", [bool, np.bool_, jnp.asarray], ids=["bool", "numpy", "jax"])
def test_what_numpy_and_jax_compare_pins_a_step(manager_at, kind):
    manager = save_tree(save_tree(manager_at(), 1, TREE, keep=kind(True)), 2, TREE, keep=kind(False))
    assert [manager.is_pinned(step) for step in (1, 2, 3)] == [True, False, False]
