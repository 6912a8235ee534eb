"""Digests: what each array must hash to, written beside the arrays by Orbax itself and committed with them.

Each process writes `digests/process_<i>.txt` as an item of the step: one line with the XXH3 of the rest, then a JSON
document with the step's StepInfo (first, so that it is read without the rest), each leaf's kind, shape, dtype and the
XXH3-128 of each region (a shard's part of the global array) that this process owns. Hashing reads the arrays' host
buffers in place, in threads (xxhash releases the GIL), while Orbax writes the same buffers.

Regions are parts of the *global* array, so that they can be checked whatever the sharding of the restored one is.
Source: xxHash, https://xxhash.com (XXH3, 128 bits; an error-detecting hash, no defence against a forger).
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
from artifex_bench.checkpointing.leaves import Leaf

ITEM = "digests"
VERSION = 1
INFO = '{"info":'  # how the document of a file begins, since StepInfo is in it
THREADS = min(8, os.cpu_count() or 1)

Region = tuple[tuple[int, int], ...]  # (start, stop) along each axis of the global array


@dataclass(frozen=True)
class Entry:
    """What was saved for one leaf: its kind and stored form, and the hexadecimal digest of each region."""

    path: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    stored: bool
    regions: Mapping[Region, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()  # around the leaf, outermost first; not known of steps saved by older versions


@dataclass(frozen=True)
class Manifest:
    """All that was saved in a step: item -> leaf name -> Entry."""

    step: int
    items: Mapping[str, Mapping[str, Entry]]


def digest(buffer: np.ndarray) -> str:
    """XXH3-128 over dtype, shape and bytes of an array, which is hashed in place where it is contiguous."""
    flat = np.ascontiguousarray(buffer).reshape(-1)
    data = xxhash.xxh3_128_digest(flat.view(np.uint8).data if flat.size else b"")
    head = f"{np.dtype(buffer.dtype).name}{list(buffer.shape)}".encode()
    return str(xxhash.xxh3_128_hexdigest(head + data))


def region_of(index: Sequence[slice], shape: Sequence[int]) -> Region:
    """A shard's index as (start, stop) along each axis."""
    return tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))


def owned_buffers(leaf: Leaf) -> list[tuple[Region, np.ndarray]]:
    """The regions of a leaf that this process saves, as host arrays (in place on CPU).

    Holding them keeps the memory: a step that is given the array to overwrite (donation) then works on another.
    """
    if not leaf.stored:
        return []
    if isinstance(leaf.value, jax.Array):
        shards = [s for s in leaf.value.addressable_shards if s.replica_id == 0]
        return [(region_of(s.index, leaf.shape), np.asarray(s.data)) for s in shards]
    whole = [(tuple((0, size) for size in leaf.shape), leaf.value)]
    return whole if jax.process_index() == 0 else []


def read_manifest(step_directory: Path, step: int) -> Manifest | None:
    """The verified digests of a step, or None where its directory has none.

    Raises CorruptCheckpointError where a file is damaged, missing, or belongs to another step, and CheckpointError
    where another version of this library wrote it.
    """
    folder = step_directory / ITEM
    if not folder.is_dir():
        return None
    documents: list[dict[str, Any]] = []
    expected = 1
    while len(documents) < expected:
        file = folder / f"process_{len(documents)}.txt"
        document = json.loads(_verified(file, step))
        if document["version"] != VERSION:
            raise CheckpointError(  # no damage: its digest is right
                f"step {step}: {file} has version {document['version']!r}, this library reads {VERSION}: "
                "use the version that saved it"
            )
        if document["step"] != step or document["process"] != len(documents):
            raise _corrupt(file, step, f"belongs to step {document['step']}, process {document['process']}")
        documents.append(document)
        expected = document["processes"]
    return Manifest(step, _merge(documents, lambda why: _corrupt(folder, step, why)))


def read_info(step_directory: Path, step: int) -> dict[str, Any] | None:
    """The fields of a step's StepInfo, verified, or None where it has no manifest or one of an earlier release.

    Raises CorruptCheckpointError where the first process's file is damaged or missing.
    """
    if not (step_directory / ITEM).is_dir():
        return None
    text = _verified(step_directory / ITEM / "process_0.txt", step).decode()
    if not text.startswith(INFO):
        return None
    info: dict[str, Any] = json.JSONDecoder().raw_decode(text, len(INFO))[0]  # the leaves may be many
    return info


def _verified(file: Path, step: int) -> bytes:
    """The document in a process's file."""
    try:
        head, _, body = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise _corrupt(file, step, "is missing") from None
    if head != b"xxh3_128 " + xxhash.xxh3_128_hexdigest(body).encode():
        raise _corrupt(file, step, "is damaged (its digest does not match)")
    return body


def _corrupt(file: Path, step: int, why: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"step {step}: {file} {why}: the step cannot be verified; load an older step",
        step=step,
        file=str(file),
    )


def _merge(documents: Sequence[Mapping[str, Any]], corrupt: Any) -> dict[str, dict[str, Entry]]:
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
            if entry.stored and covered != int(np.prod(entry.shape)):
                raise corrupt(f"covers {covered} of the {int(np.prod(entry.shape))} elements of {entry.path}")
            items[item][name] = entry
    return items


def mismatches(entries: Iterable[tuple[Entry, Any]]) -> list[str]:
    """The paths of the restored arrays that are not what was saved, by shape, dtype or digest, in order.

    Arrays that no process holds whole are checked where their shards are; where a saved region lies across processes
    the array is gathered, one at a time: every process must call this with the same arrays.
    """
    wrong: dict[str, None] = {}
    jobs: list[tuple[Entry, str, np.ndarray]] = []
    for entry, value in entries:
        if tuple(value.shape) != entry.shape or np.dtype(value.dtype).name != entry.dtype:
            wrong[entry.path] = None
            continue
        jobs += [(entry, expected, buffer) for expected, buffer in _pieces(entry, value)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda job: digest(job[2]), jobs)
        wrong.update(
            (entry.path, None) for (entry, expected, _), got in zip(jobs, found, strict=True) if got != expected
        )
    return list(wrong)


def _pieces(entry: Entry, value: Any) -> list[tuple[str, np.ndarray]]:
    if not isinstance(value, jax.Array):
        return [(expected, _cut(value, region)) for region, expected in entry.regions.items()]
    everywhere = {region_of(i, entry.shape) for i in value.sharding.devices_indices_map(entry.shape).values()}
    local = {region_of(s.index, entry.shape): s for s in value.addressable_shards}
    if everywhere.issuperset(entry.regions):
        return [(d, np.asarray(local[r].data)) for r, d in entry.regions.items() if r in local]
    if value.is_fully_addressable:
        whole = np.asarray(value)
    else:
        from jax.experimental import multihost_utils

        whole = multihost_utils.process_allgather(value, tiled=True)
    return [(expected, _cut(whole, region)) for region, expected in entry.regions.items()]


def _cut(array: np.ndarray, region: Region) -> np.ndarray:
    return array[tuple(slice(start, stop) for start, stop in region)]
