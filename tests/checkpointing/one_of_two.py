"""One of two processes of one job (test_sharding.py starts both): save and restore one state that neither holds whole.

Arguments: this process's number, the coordinator's port, the folder, the phase: `save`, `load` or `damaged`.
"""

from __future__ import annotations

import sys

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")

import numpy as np  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from artifex_bench.checkpointing import (  # noqa: E402
    CheckpointError,
    load_tree,
    save_tree,
    set_aside,
    setup_checkpoint_manager,
)

ROWS = np.arange(64, dtype=np.float32).reshape(8, 8)


def laid_out(mesh: Mesh, *spec: str | None) -> jax.Array:
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    return jax.make_array_from_callback(ROWS.shape, sharding, lambda index: ROWS[index])


def main(process: int, port: str, folder: str, phase: str) -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
    assert jax.device_count() == 4 and jax.local_device_count() == 2
    flat = Mesh(np.array(jax.devices()), ("x",))
    square = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))
    tree = {"rows": laid_out(flat, "x"), "everywhere": laid_out(flat), "square": laid_out(square, "x", "y"), "n": 3}
    manager, _ = setup_checkpoint_manager(folder, asynchronous=True)
    if phase == "save":
        save_tree(manager, 1, tree)
        save_tree(manager, 2, tree)
    else:
        # As it was saved; and so that each saved part lies in both processes.
        across = {**tree, "rows": laid_out(flat, None, "x"), "square": laid_out(flat, None, "x")}
        for template in (tree, across):
            loaded, step = load_tree(manager, template)
            assert step == 2 and loaded["n"] == 3
            for name in ("rows", "everywhere", "square"):
                assert loaded[name].sharding == template[name].sharding
                for shard in loaded[name].addressable_shards:
                    assert np.array_equal(shard.data, ROWS[shard.index]), name
        for place in ("3", "3-1"):
            assert set_aside(save_tree(manager, 3, tree), 3).name == place
        assert manager.all_steps() == [1, 2]
    manager.close()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), *sys.argv[2:])
        print("fine")
    except CheckpointError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(3)
