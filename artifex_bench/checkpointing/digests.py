"""Digests of a step's arrays, written beside them in a manifest and committed with them.

Each process writes `digests/process_<i>.txt`, an item of the step. Its first line is the XXH3-128 of the rest, which is
a JSON document. The document holds the step's StepInfo (first, so that it can be read alone), then for each leaf its
kind, shape, dtype, and the XXH3-128 of each region that this process owns. A region is a shard's part of the global
array, so that it can be verified whatever sharding the array is restored to.

Arrays are hashed in place in their host buffers, in threads (xxhash releases the GIL), while Orbax writes the same
buffers. XXH3 (https://xxhash.com) detects errors and is no defence against a forger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xxhash

from artifex_bench.checkpointing.errors import CheckpointError, CorruptCheckpointError
from artifex_bench.checkpointing.tree_leaves import Leaf, describe_leaf

DIGESTS_ITEM = "digests"
MANIFEST_VERSION = 1
INFO_PREFIX = '{"info":'  # the start of each document, unless an earlier release wrote it
HASH_THREADS = min(8, os.cpu_count() or 1)

Region = tuple[tuple[int, int], ...]  # (start, stop) along each axis of the global array


@dataclass(frozen=True)
class Entry:
    """One saved leaf, as the manifest describes it.

    Attributes:
        path: The leaf's path for messages, such as "layers/0/kernel".
        kind: What the leaf was before it became an array, see `encoding`.
        shape: The global shape of the stored array.
        dtype: The name of the stored array's dtype, or "" for an empty container.
        stored: False if there are no bytes to store: an empty container, or an array without elements.
        regions: The hexadecimal digest of each region.
        containers: The containers around the leaf, outermost first. Empty for steps of early releases.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    stored: bool
    regions: Mapping[Region, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()

    def describe(self) -> str:
        """Describe the saved leaf in words for messages, as `tree_leaves.describe_leaf` does.

        Returns:
            Text such as "float32[8,4]", "int" or "empty dict".
        """
        return describe_leaf(self.kind, self.shape, self.dtype)


@dataclass(frozen=True)
class Manifest:
    """The entries of a step.

    Attributes:
        step: The step's number.
        items: For each item, its entries by leaf name.
    """

    step: int
    items: Mapping[str, Mapping[str, Entry]]


def hash_array(buffer: np.ndarray) -> str:
    """Hash the dtype, shape and bytes of an array.

    Args:
        buffer: A host array of any shape. A contiguous one is hashed in place, others are copied.

    Returns:
        The XXH3-128 as 32 hexadecimal digits.
    """
    flat = np.ascontiguousarray(buffer).reshape(-1)
    data = xxhash.xxh3_128_digest(flat.view(np.uint8).data if flat.size else b"")
    head = f"{np.dtype(buffer.dtype).name}{list(buffer.shape)}".encode()
    return str(xxhash.xxh3_128_hexdigest(head + data))


def index_to_region(index: Sequence[slice], shape: Sequence[int]) -> Region:
    """Convert a shard's index to a region.

    Args:
        index: One slice for each axis, as in `jax.Shard.index`.
        shape: The shape of the global array.

    Returns:
        (start, stop) for each axis.
    """
    return tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))


def list_owned_buffers(leaf: Leaf) -> list[tuple[Region, np.ndarray]]:
    """List the regions of a leaf that this process saves, with their data.

    A held buffer keeps its memory: a training step that gets the array by donation writes to other memory.

    Args:
        leaf: The leaf to save.

    Returns:
        (region, host array of the region's shape) for each region. On CPU the host array is the shard's own buffer.
    """
    if not leaf.stored:
        return []
    if isinstance(leaf.value, jax.Array):
        shards = [s for s in leaf.value.addressable_shards if s.replica_id == 0]
        return [(index_to_region(s.index, leaf.shape), np.asarray(s.data)) for s in shards]
    whole = [(tuple((0, size) for size in leaf.shape), leaf.value)]
    return whole if jax.process_index() == 0 else []


def read_manifest(step_directory: Path, step: int) -> Manifest | None:
    """Read and verify the manifest of a step.

    Args:
        step_directory: The step's folder.
        step: The step's number.

    Returns:
        The manifest, merged from the files of all processes, or None if the step has none.

    Raises:
        CorruptCheckpointError: If a file is damaged, is missing, or belongs to another step or process.
        CheckpointError: If another release wrote the manifest in a version that this one does not read.
    """
    folder = step_directory / DIGESTS_ITEM
    if not folder.is_dir():
        return None
    documents: list[dict[str, Any]] = []
    expected = 1
    while len(documents) < expected:
        file = folder / f"process_{len(documents)}.txt"
        document = json.loads(_read_verified(file, step))
        if document["version"] != MANIFEST_VERSION:
            raise CheckpointError(  # not damage: the document's digest is right
                f"step {step}: {file} has manifest version {document['version']!r}, but this release reads version "
                f"{MANIFEST_VERSION}: load the step with the release that saved it"
            )
        if document["step"] != step or document["process"] != len(documents):
            raise _make_manifest_error(file, step, f"belongs to step {document['step']}, process {document['process']}")
        documents.append(document)
        expected = document["processes"]
    return Manifest(step, _merge_documents(documents, folder, step))


def read_info_fields(step_directory: Path, step: int) -> dict[str, Any] | None:
    """Read and verify the fields of a step's StepInfo.

    Args:
        step_directory: The step's folder.
        step: The step's number.

    Returns:
        The fields by name, or None if the step has no manifest or an earlier release wrote it.

    Raises:
        CorruptCheckpointError: If the first process's file is damaged or missing.
    """
    if not (step_directory / DIGESTS_ITEM).is_dir():
        return None
    text = _read_verified(step_directory / DIGESTS_ITEM / "process_0.txt", step).decode()
    if not text.startswith(INFO_PREFIX):
        return None
    # The rest of the document, which has a row per leaf, is not parsed.
    info: dict[str, Any] = json.JSONDecoder().raw_decode(text, len(INFO_PREFIX))[0]
    return info


def _read_verified(file: Path, step: int) -> bytes:
    """Read a process's file, check its digest, and return the document."""
    try:
        head, _, body = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise _make_manifest_error(file, step, "is missing") from None
    if head != b"xxh3_128 " + xxhash.xxh3_128_hexdigest(body).encode():
        raise _make_manifest_error(file, step, "does not match its own digest")
    return body


def _make_manifest_error(file: Path, step: int, why: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"step {step}: {file} {why}, so the step cannot be verified: load an older step",
        step=step,
        file=str(file),
    )


def _merge_documents(documents: Sequence[Mapping[str, Any]], folder: Path, step: int) -> dict[str, dict[str, Entry]]:
    """Merge the documents of all processes, whose regions of a stored leaf must cover the whole array."""
    items: dict[str, dict[str, Entry]] = {}
    for item, rows in documents[0]["items"].items():
        items[item] = {}
        for name, row in rows.items():
            regions: dict[Region, str] = {}
            for document in documents:
                for region, value in document["items"][item][name]["regions"]:
                    regions[tuple((start, stop) for start, stop in region)] = value
            around = tuple(row.get("containers", ()))
            entry = Entry(row["path"], row["kind"], tuple(row["shape"]), row["dtype"], row["stored"], regions, around)
            covered = sum(int(np.prod([stop - start for start, stop in r])) for r in regions)
            size = int(np.prod(entry.shape))
            if entry.stored and covered != size:
                raise _make_manifest_error(folder, step, f"covers {covered} of the {size} elements of {entry.path}")
            items[item][name] = entry
    return items


def find_mismatches(entries: Iterable[tuple[Entry, Any]]) -> list[str]:
    """Find the restored arrays that differ from the saved ones in shape, dtype or digest.

    If no process holds an array whole, each process checks the regions that it holds. If a saved region lies across
    processes, that array is gathered, one array at a time: every process must call this with the same arrays.

    Args:
        entries: (saved leaf, restored array) for each stored leaf.

    Returns:
        The paths of the arrays that differ, each once.
    """
    wrong: dict[str, None] = {}
    jobs: list[tuple[Entry, str, np.ndarray]] = []
    for entry, value in entries:
        if tuple(value.shape) != entry.shape or np.dtype(value.dtype).name != entry.dtype:
            wrong[entry.path] = None
            continue
        jobs += [(entry, expected, buffer) for expected, buffer in _list_hash_jobs(entry, value)]
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        found = pool.map(lambda job: hash_array(job[2]), jobs)
        wrong.update(
            (entry.path, None) for (entry, expected, _), got in zip(jobs, found, strict=True) if got != expected
        )
    return list(wrong)


def _list_hash_jobs(entry: Entry, value: Any) -> list[tuple[str, np.ndarray]]:
    """List (expected digest, data) for the saved regions that this process can check."""
    if not isinstance(value, jax.Array):
        return [(expected, _slice_region(value, region)) for region, expected in entry.regions.items()]
    everywhere = {index_to_region(i, entry.shape) for i in value.sharding.devices_indices_map(entry.shape).values()}
    local = {index_to_region(s.index, entry.shape): s for s in value.addressable_shards}
    if everywhere.issuperset(entry.regions):
        return [(d, np.asarray(local[r].data)) for r, d in entry.regions.items() if r in local]
    if value.is_fully_addressable:
        whole = np.asarray(value)
    else:
        from jax.experimental import multihost_utils

        whole = multihost_utils.process_allgather(value, tiled=True)
    return [(expected, _slice_region(whole, region)) for region, expected in entry.regions.items()]


def _slice_region(array: np.ndarray, region: Region) -> np.ndarray:
    return array[tuple(slice(start, stop) for start, stop in region)]
