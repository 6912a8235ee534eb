"""Managers that are closed, and trees that are equal to the bit."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from artifex_bench.checkpointing import CheckpointError, CheckpointManager, setup_checkpoint_manager


@pytest.fixture
def manager_at(tmp_path: Path) -> Iterator[Callable[..., CheckpointManager]]:
    """Makes managers, in `checkpoints` of the test's folder by default, and closes them after the test."""
    with ExitStack() as stack:

        def make(directory: Any = tmp_path / "checkpoints", **options: Any) -> CheckpointManager:
            manager, _ = setup_checkpoint_manager(directory, **options)
            stack.callback(_close, manager)
            return manager

        yield make


def _close(manager: CheckpointManager) -> None:
    with suppress(CheckpointError):  # what a test provoked, it looked at
        manager.close()


class Net(nnx.Module):
    """A small model with all that nnx state can hold: lists, batch statistics, dropout's PRNG stream."""

    def __init__(self, rngs: nnx.Rngs, width: int = 4) -> None:
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.dropout(self.norm(x))


def bits(leaf: Any) -> Any:
    """What a leaf is to the last bit: type of thing, dtype, shape, bytes."""
    if hasattr(leaf, "dtype"):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return str(leaf.dtype), bits(jax.random.key_data(leaf))
        return isinstance(leaf, jax.Array), str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()
    return type(leaf), repr(leaf)


def assert_same(ours: Any, theirs: Any) -> None:
    """Both trees have the same structure, and every leaf is equal to the bit."""
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(theirs)
    flat, _ = jax.tree_util.tree_flatten_with_path(ours)
    for (path, a), b in zip(flat, jax.tree_util.tree_leaves(theirs), strict=True):
        assert bits(a) == bits(b), jax.tree_util.keystr(path)


def overwritten(file: Path) -> None:
    """Turn one bit of a file over."""
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(bytes(data))


def catch_error(error, call, *args, **options):
    """The error that the call raises, whose message is one line."""
    with pytest.raises(error) as caught:
        call(*args, **options)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value
