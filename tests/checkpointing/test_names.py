"""Steps are found on disk whatever their own metadata says."""

from __future__ import annotations

import numpy as np
from flax import nnx

from artifex_bench.checkpointing import recover_from_corruption, save_checkpoint, setup_checkpoint_manager


def test_a_step_whose_own_metadata_is_damaged_keeps_no_other_from_being_read(tmp_path):
    """Orbax reads that file of every step when a manager is opened; the arrays are verified whatever it says."""
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    with setup_checkpoint_manager(tmp_path)[0] as manager:
        save_checkpoint(manager, model, step=1)
        save_checkpoint(manager, model, step=2)
        damaged = manager.step_directory(2) / "_CHECKPOINT_METADATA"
    damaged.write_text(damaged.read_text().replace("init_timestamp", "init_tim%stamp"))
    restored, step = recover_from_corruption(tmp_path, model)
    assert step == 2
    assert np.array_equal(restored.kernel[...], model.kernel[...])
