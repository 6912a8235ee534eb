"""Which steps stay: whatever is damaged, no step to keep is deleted, and no changed value is returned as true."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.checkpointing import (
    CheckpointError,
    Retention,
    UnverifiedCheckpointWarning,
    load_tree,
    save_tree,
)
from artifex_bench.checkpointing.retention import find_expired_steps
from artifex_bench.checkpointing.step_info import StepInfo, read_step_info
from tests.checkpointing.conftest import catch_error

TREE = {"w": np.arange(3.0)}
BEST = Retention(last=1, best=1, metric="loss")
SAVED = StepInfo(pinned=True, metrics={"loss": 1.5}, custom_metadata={})

METADATA, METRICS, MANIFEST = "_CHECKPOINT_METADATA", "metrics/metrics", "digests/process_0.txt"


def flips(file: Path, stride: int = 1):
    """The file with each of its bits flipped in turn; whole again at the end."""
    whole = file.read_bytes()
    for at in range(0, 8 * len(whole), stride):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        file.write_bytes(damaged)
        yield at
    file.write_bytes(whole)


def of_an_earlier_release(step: Path) -> None:
    """Take the StepInfo out of the manifest of a step."""
    change_manifest(step, lambda document: document.pop("info"))


def change_manifest(step: Path, change: Callable[[dict], object]) -> None:
    """Change the manifest of a step, under a digest that is right."""
    file = step / MANIFEST
    document = json.loads(file.read_bytes().partition(b"\n")[2])
    change(document)
    body = json.dumps(document, separators=(",", ":"))
    file.write_text(f"xxh3_128 {xxhash.xxh3_128_hexdigest(body.encode())}\n{body}")


@pytest.fixture
def first(manager_at):
    """The folder of a step that is pinned and best, of a directory with a worse step after it."""
    manager = save_tree(manager_at(retention=BEST), 1, TREE, keep=True, metrics={"loss": 1.5})
    save_tree(manager, 2, TREE, metrics={"loss": 2})
    manager.close()
    logging.disable(logging.WARNING)  # each flip is logged
    yield manager.step_directory(1)
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("file", [METADATA, METRICS, MANIFEST])
def test_no_flipped_bit_loses_a_pin_or_changes_a_metric(first, manager_at, file):
    reader = manager_at(read_only=True, retention=BEST)
    second = read_step_info(first.with_name("2"), 2)
    for at in flips(first / file, stride=5 if file == MANIFEST else 1):  # its digest is of all its bytes
        info = read_step_info(first, 1)
        assert info == (SAVED if file != MANIFEST else None), at
        for retention in (Retention(last=1), BEST):
            gone = find_expired_steps(retention, [1, 2, 3], {1: info, 2: second, 3: StepInfo()}.get)
            assert gone == ([2] if retention != BEST or info else []), at
        if at % 97 == 0:  # slower
            assert reader.all_steps() == [1, 2] and reader.is_pinned(1)
            assert reader.metrics(1) == (info.metrics if info else None)
            assert reader.best_step() == (1 if info else 2), at
    assert read_step_info(first, 1) == SAVED


@pytest.mark.parametrize("file", [METADATA, METRICS])
def test_no_flipped_bit_loses_a_pin_of_an_earlier_release(first, file):
    of_an_earlier_release(first)
    assert read_step_info(first, 1) == StepInfo(pinned=True, metrics={"loss": 1.5})
    for at in flips(first / file):
        assert find_expired_steps(Retention(last=1), [1, 2], {1: read_step_info(first, 1)}.get) == [], at


@pytest.mark.parametrize("release", ["this", "earlier"])
@pytest.mark.parametrize("file", [METADATA, METRICS, MANIFEST])
def test_a_step_is_not_deleted_for_a_flipped_bit(first, manager_at, release, file):
    if release == "earlier":
        of_an_earlier_release(first)
    step = 2
    for _ in flips(first / file, stride=max(1, 8 * (first / file).stat().st_size // 5)):
        manager = manager_at(retention=Retention(last=1))
        step += 1
        assert save_tree(manager, step, TREE).all_steps() == [1, step]
        manager.close()


@pytest.mark.parametrize("gone", [METADATA, METRICS, MANIFEST, "digests", "metrics"])
def test_a_step_is_not_deleted_for_a_file_that_is_gone(first, manager_at, gone):
    path = first / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert save_tree(manager_at(retention=BEST), 3, TREE, metrics={"loss": 3}).all_steps()[0] == 1


def test_pins_and_metrics_of_an_earlier_release_are_honoured(first, manager_at):
    of_an_earlier_release(first)
    of_an_earlier_release(first.with_name("2"))
    manager = manager_at(retention=BEST)
    assert manager.is_pinned(1) and not manager.is_pinned(2)
    assert manager.metrics(2) == {"loss": 2} and manager.best_step() == 1
    assert save_tree(manager, 3, TREE, metrics={"loss": 3}).all_steps() == [1, 3]


def test_items_that_orbax_saves_through_the_manager_have_pins_and_metrics_too(manager_at):
    manager = manager_at(retention=BEST)
    for step in (1, 2, 3):
        tree = ocp.args.Composite(tree=ocp.args.PyTreeSave({"w": np.full(3, step)}))
        manager.save(step, args=tree, metrics={"loss": step}, keep=step == 2)
    assert manager.all_steps() == [1, 2, 3] and manager.best_step() == 1
    for at in flips(manager.step_directory(2) / METADATA, stride=29):
        assert manager.is_pinned(2), at
    with pytest.warns(UnverifiedCheckpointWarning):
        assert load_tree(manager, {"w": np.zeros(3, int)}, 2)[0]["w"].tolist() == [2, 2, 2]
    # An item without a name leaves no place beside it.
    single = manager_at(manager.directory / "single")
    with pytest.raises(ValueError, match="Composite"):
        single.save(1, args=ocp.args.PyTreeSave({"w": np.ones(3)}), keep=True)
    assert single.save(1, args=ocp.args.PyTreeSave({"w": np.ones(3)})) and single.all_steps() == [1]


INFOS = st.none() | st.builds(
    StepInfo,
    pinned=st.booleans(),
    metrics=st.none() | st.fixed_dictionaries({"loss": st.floats(-2, 2) | st.just(float("nan"))}),
)
RETENTIONS = st.builds(
    Retention,
    last=st.none() | st.integers(1, 4),
    every=st.none() | st.integers(1, 4),
    best=st.none() | st.integers(1, 3),
    metric=st.just("loss"),
    mode=st.sampled_from(["min", "max"]),
)


@given(retention=RETENTIONS, infos=st.dictionaries(st.integers(0, 20), INFOS, min_size=1), data=st.data())
def test_what_is_damaged_stays_and_takes_nothing_with_it(retention, infos, data):
    steps = sorted(infos)
    gone = set(find_expired_steps(retention, steps, infos.get))
    assert steps[-1] not in gone
    assert all(info is not None and not info.pinned for step, info in infos.items() if step in gone)
    damaged = data.draw(st.sets(st.sampled_from(steps)))
    after = set(find_expired_steps(retention, steps, {**infos, **dict.fromkeys(damaged)}.get))
    assert after <= gone - damaged


@pytest.fixture
def undeletable(tmp_path):
    """Makes a folder one that cannot be deleted or renamed (a mount point, which only root may make)."""

    def mount(folder: Path) -> None:
        try:
            subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"nothing can be mounted here: {error}")

    def unmount() -> None:
        for line in Path("/proc/self/mounts").read_text().splitlines() if Path("/proc/self/mounts").exists() else []:
            if line.split()[1].startswith(str(tmp_path)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)

    mount.undo = unmount
    yield mount
    unmount()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_step_is_saved_though_an_older_one_cannot_be_deleted(manager_at, undeletable, caplog, asynchronous):
    manager = save_tree(manager_at(retention=Retention(last=1), asynchronous=asynchronous), 1, TREE)
    manager.wait_until_finished()
    undeletable(manager.step_directory(1))
    for step in (2, 3, 4):
        save_tree(manager, step, TREE)
        manager.wait_until_finished()
        assert manager.all_steps() == [1, step]
    assert load_tree(manager, TREE)[1] == 4 and load_tree(manager, TREE, 1)[1] == 1
    logged = [r for r in caplog.records if r.name.startswith("artifex_bench")]
    assert [record.args[0] for record in logged] == [1] and logged[0].args[1].errno == errno.EBUSY
    undeletable.undo()
    save_tree(manager, 5, TREE)
    manager.close()  # and nothing is raised
    assert manager.all_steps() == [5]


def test_what_is_left_of_a_step_that_is_half_deleted_is_no_step(manager_at, undeletable, caplog):
    manager = save_tree(manager_at(retention=Retention(last=1)), 1, TREE)
    undeletable(manager.step_directory(1) / "tree")
    assert save_tree(manager, 2, TREE).all_steps() == [2]
    assert [r.args[0] for r in caplog.records if r.name.startswith("artifex_bench")] == [1]
    with pytest.raises(CheckpointError):
        load_tree(manager, TREE, 1)
    manager.close()
    undeletable.undo()
    assert save_tree(manager_at(retention=Retention(last=1)), 3, TREE).all_steps() == [3]
    assert not list(Path(manager.directory).glob("*orbax-checkpoint-tmp*"))


@pytest.mark.parametrize("part", ["", "tree"])
def test_a_deletion_that_fails_says_whether_the_step_still_exists(manager_at, undeletable, part):
    manager = save_tree(save_tree(manager_at(), 1, TREE), 2, TREE)
    undeletable(manager.step_directory(1) / part)
    error = catch_error(CheckpointError, manager.delete, 1)
    assert manager.all_steps() == ([2] if part else [1, 2])
    assert ("not deleted" in str(error)) == (1 in manager.all_steps())


def test_a_step_that_is_a_link_leaves_with_what_it_leads_to_untouched(manager_at, tmp_path, caplog):
    manager = save_tree(manager_at(retention=Retention(last=1)), 1, TREE)
    shutil.move(manager.step_directory(1), tmp_path / "elsewhere")
    manager.step_directory(1).symlink_to(tmp_path / "elsewhere")
    assert save_tree(manager, 2, TREE).all_steps() == [2]
    assert not list(Path(manager.directory).glob("*orbax-checkpoint-tmp*"))
    assert (tmp_path / "elsewhere" / MANIFEST).is_file()
    assert not [r for r in caplog.records if r.name.startswith("artifex_bench")]
