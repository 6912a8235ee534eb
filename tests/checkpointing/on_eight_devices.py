"""Run by test_sharding.py in a process of its own, which has eight CPU devices (pytest does not collect it by name)."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from artifex_bench.checkpointing import (
    CorruptCheckpointError,
    TemplateMismatchError,
    load_checkpoint,
    load_numpy,
    load_sharded_checkpoint,
    load_tree,
    save_sharded_checkpoint,
    save_tree,
    shard_mesh,
    shard_tree,
)
from artifex_bench.checkpointing.nnx_models import extract_pure_state
from tests.checkpointing.conftest import Net, assert_same

DEVICES = jax.devices()


def meshes():
    grid = np.array(DEVICES)
    return {
        "8": Mesh(grid, ("x",)),
        "reversed": Mesh(grid[::-1], ("x",)),
        "4x2": Mesh(grid.reshape(4, 2), ("x", "y")),
        "3": Mesh(grid[:3], ("x",)),
    }


def tree():
    key = jax.random.key(0)
    return {
        "rows": jax.random.normal(key, (24, 16)),
        "bf16": jax.random.normal(key, (24, 8), jnp.bfloat16),
        "odd": jnp.arange(7.0),
        "key": key,
        "scalar": jnp.float32(3),
    }


def lay_out(mesh, spec):
    return {
        name: jax.device_put(value, NamedSharding(mesh, spec if value.ndim == 2 else PartitionSpec()))
        for name, value in tree().items()
    }


LAYOUTS = [("8", ("x",)), ("reversed", ("x",)), ("4x2", ("x", "y")), ("4x2", (None, "x")), ("4x2", (("y", "x"),))]


def test_there_are_eight_devices():
    assert len(DEVICES) == 8


@pytest.mark.parametrize("format", ["zarr2", "ocdbt"])
@pytest.mark.parametrize(("mesh", "spec"), LAYOUTS, ids=str)
def test_any_layout_to_any_other(manager_at, mesh, spec, format):
    manager = save_tree(manager_at(format=format, asynchronous=True), 1, lay_out(meshes()[mesh], PartitionSpec(*spec)))
    for other, other_spec in [*LAYOUTS, ("3", ("x",))]:
        template = lay_out(meshes()[other], PartitionSpec(*other_spec))
        loaded, _ = load_tree(manager, template)
        assert_same(loaded, tree())
        for name in template:
            assert loaded[name].sharding.is_equivalent_to(template[name].sharding, template[name].ndim), name


def test_each_device_writes_its_part_and_a_digest_for_it(manager_at):
    manager = save_tree(manager_at(), 1, lay_out(meshes()["8"], PartitionSpec("x")))
    chunks = [f for f in (manager.step_directory(1) / "tree" / "rows").iterdir() if not f.name.startswith(".")]
    assert len(chunks) == 8
    document = json.loads((manager.step_directory(1) / "digests" / "process_0.txt").read_text().partition("\n")[2])
    assert len(document["items"]["tree"]["rows"]["regions"]) == 8
    assert len(document["items"]["tree"]["odd"]["regions"]) == 1  # replicated: once


@pytest.mark.parametrize("onto", ["same", "device", "numpy", "4x2"])
def test_damage_in_one_shard_is_found_whatever_it_is_restored_to(manager_at, onto):
    manager = save_tree(manager_at(format="zarr2"), 1, lay_out(meshes()["8"], PartitionSpec("x")))
    chunk = manager.step_directory(1) / "tree" / "rows" / "5.0"
    data = bytearray(chunk.read_bytes())
    data[7] ^= 4
    chunk.write_bytes(bytes(data))
    template = {
        "same": lay_out(meshes()["8"], PartitionSpec("x")),
        "4x2": lay_out(meshes()["4x2"], PartitionSpec(None, "x")),
        "device": tree(),
        "numpy": None,
    }[onto]
    with pytest.raises(CorruptCheckpointError) as caught:
        load_tree(manager, template)
    assert (caught.value.step, caught.value.paths) == (1, ("tree/rows",))


@pytest.mark.parametrize("format", ["zarr2", "ocdbt-zarr3-zstd"])
def test_a_model_over_a_mesh(manager_at, format):
    model = Net(nnx.Rngs(0), width=16)
    manager = save_sharded_checkpoint(manager_at(format=format), model, 1, num_shards=4)
    mesh = shard_mesh(8)
    template = Net(nnx.Rngs(1), width=16)
    for onto in (mesh, meshes()["4x2"], DEVICES[3], SingleDeviceSharding(DEVICES[0]), None):
        loaded, step = load_sharded_checkpoint(manager, template, onto=onto)
        assert step == 1
        assert_same(extract_pure_state(loaded), extract_pure_state(model))
    kernel = load_sharded_checkpoint(manager, template, onto=mesh)[0].layers[0].kernel[...]
    assert len({s.data.shape for s in kernel.addressable_shards}) == 1 and kernel.addressable_shards[0].data.size == 32
    assert load_sharded_checkpoint(manager, template, onto=DEVICES[3])[0].norm.scale[...].devices() == {DEVICES[3]}
    assert_same(extract_pure_state(load_checkpoint(manager, template)[0]), extract_pure_state(model))


def test_into_numpy_and_only_a_part(manager_at):
    model = Net(nnx.Rngs(0), width=16)
    manager = save_sharded_checkpoint(manager_at(), model, 1, mesh=shard_mesh())
    whole, _ = load_numpy(manager)
    assert isinstance(whole["norm"]["scale"], np.ndarray)
    assert np.array_equal(whole["layers"]["1"]["kernel"], model.layers[1].kernel[...])
    part, _ = load_numpy(manager, only={"layers": {1: {"kernel": np.zeros((16, 16), np.float32)}}})
    assert list(part) == ["layers"] and np.array_equal(part["layers"][1]["kernel"], model.layers[1].kernel[...])
    with pytest.raises(TemplateMismatchError) as caught:
        load_numpy(manager, only={"layers": {9: {"kernel": np.zeros(3)}}})
    assert caught.value.path == "model/layers/9/kernel"


def test_more_shards_than_devices_are_rejected(manager_at):
    with pytest.raises(ValueError, match=r"num_shards 9\b.*\b8\b"):
        save_sharded_checkpoint(manager_at(), Net(nnx.Rngs(0)), 1, num_shards=9)


def test_a_mesh_moves_nothing_of_the_caller(manager_at):
    model = Net(nnx.Rngs(0), width=16)
    before = model.layers[0].kernel[...].sharding
    save_sharded_checkpoint(manager_at(), model, 1, num_shards=8)
    assert model.layers[0].kernel[...].sharding == before
    assert len(shard_tree({"w": np.ones((4, 16))}, shard_mesh(8))["w"].sharding.device_set) == 8


def test_a_sharding_that_cannot_divide_an_array_is_no_damage(manager_at):
    manager = save_tree(manager_at(), 1, {"w": jnp.ones((3, 8))})
    rows = NamedSharding(shard_mesh(8), PartitionSpec("shards"))
    with pytest.raises(TemplateMismatchError) as caught:
        load_tree(manager, {"w": jax.ShapeDtypeStruct((3, 8), jnp.float32, sharding=rows)})
    assert caught.value.path == "tree/w" and "sharding" in caught.value.expected
