"""SAVERS: name -> one way to write a training state to disk and read it back: ours, plain Orbax, peers. No JAX.

A saver is a class with this protocol; one is made anew, on an empty folder, for every save that is measured:

    Saver(case, folder)
    save(tree)         returns when training may go on
    wait()             returns when the save is committed, or raises what went wrong; done() tells without waiting
    restore(template)  the tree on the devices; the template's leaves are `jax.ShapeDtypeStruct`, with shardings
    close()
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from artifex_bench.checkpointing.formats import FORMATS
from artifex_bench.core.case import CaseError, CheckpointCase, FaultCase
from artifex_bench.core.convert import suggest_choice


@dataclass(frozen=True)
class SaverEntry:
    """Where a saver is defined, and what it can do; `needs` are packages that the pins leave out."""

    factory: str
    summary: str
    modes: tuple[str, ...] = ("sync",)
    sharded: bool = False
    partial: bool = False
    chunks: bool = False
    needs: tuple[str, ...] = ()
    detects: bool = False  # damage to what it stored: the suite fault shows it


_BOTH = ("sync", "async")


def _ours(summary: str) -> SaverEntry:
    return SaverEntry(
        "artifex_bench.checkpoint_io.orbax:Ours", summary, _BOTH, sharded=True, partial=True, chunks=True, detects=True
    )


def _peer(name: str, summary: str, *needs: str, detects: bool = False) -> SaverEntry:
    return SaverEntry(f"artifex_bench.checkpoint_io.peers:{name}", summary, needs=needs, detects=detects)


SAVERS = {
    "auto": _ours("ours: digests, and a layout chosen by the number of arrays"),
    **{name: _ours(f"ours: digests, in the layout {name}") for name in FORMATS},
    "orbax": SaverEntry("artifex_bench.checkpoint_io.orbax:Plain", "Orbax with its defaults", _BOTH, sharded=True),
    "orbax-v1": SaverEntry(
        "artifex_bench.checkpoint_io.orbax:PlainV1", "Orbax's coming interface", _BOTH, sharded=True
    ),
    "safetensors": _peer("Safetensors", "safetensors", "safetensors"),
    "npz": _peer("Npz", "numpy.savez", detects=True),
    "pickle": _peer("Pickle", "pickle, protocol 5"),
    "msgpack": _peer("Msgpack", "flax.serialization"),
    "torch": _peer("Torch", "torch.save", "torch"),
    "torch-dcp": _peer("TorchDcp", "torch.distributed.checkpoint", "torch"),
}


def check(case: CheckpointCase | FaultCase) -> None:
    """Raise CaseError, in one line, where the format is unknown or cannot do what the case asks for."""
    if case.format not in SAVERS:
        raise CaseError(f"unknown format {case.format!r}: {suggest_choice(case.format, SAVERS)}")
    if isinstance(case, FaultCase):
        from artifex_bench.checkpointing.faults import FAULTS

        if case.fault not in FAULTS:
            raise CaseError(f"unknown fault {case.fault!r}: {suggest_choice(case.fault, FAULTS)}")
        return
    entry = SAVERS[case.format]
    able = {
        f"mode {case.mode}": case.mode in entry.modes,
        f"devices {case.devices}": entry.sharded or case.devices == 1,
        f"restore {case.restore}": {"partial": entry.partial, "reshard": entry.sharded}.get(case.restore, True),
        f"chunk {case.chunk}": entry.chunks or case.chunk is None,
    }
    for what, can in able.items():
        if not can:
            raise CaseError(f"format {case.format!r} cannot do {what}: leave it out, or choose {_able(case)}")
    if case.restore == "reshard" and case.devices < 2:
        raise CaseError(f"restore 'reshard' with devices {case.devices}: needs 2 or more devices to restore onto fewer")
    if case.size < case.arrays * 8 * case.devices:
        least = case.arrays * 8 * case.devices
        raise CaseError(f"size {case.size}: {case.arrays} arrays on {case.devices} devices need {least} bytes or more")


def _able(case: CheckpointCase) -> str:
    names = [
        name
        for name, entry in SAVERS.items()
        if case.mode in entry.modes
        and (entry.sharded or (case.devices == 1 and case.restore != "reshard"))
        and (entry.partial or case.restore != "partial")
        and (entry.chunks or case.chunk is None)
    ]
    return ", ".join(names)


def missing(format: str) -> str | None:
    """Why the format cannot be measured here, or None: the packages that are not installed."""
    lost = [name for name in SAVERS[format].needs if importlib.util.find_spec(name) is None]
    return f"{lost[0]} is not installed: pip install {lost[0]}" if lost else None


def load(format: str) -> Any:
    """The saver's class."""
    module, _, name = SAVERS[format].factory.partition(":")
    return getattr(import_module(module), name)
