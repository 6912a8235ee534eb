"""FORMATS: name -> one way to write a training state to disk: our layouts, plain Orbax, other libraries. No JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from artifex_bench.checkpointing import formats as layouts
from artifex_bench.core.case import CaseError, CheckpointCase, FaultCase, check_choice
from artifex_bench.core.convert import check_value
from artifex_bench.core.plugin import import_user_object, load_entry


class Saver(Protocol):
    """Saves one training state and restores it. Every measured save gets a new saver and an empty folder."""

    def __init__(self, case: Any, folder: Path) -> None:
        """Prepare to save the state of a `CheckpointCase` or `FaultCase`, or to restore what the folder holds."""

    def save(self, tree: Any) -> None:
        """Save the tree; return when training may go on."""

    def wait(self) -> None:
        """Return when the save is committed. Raises what went wrong."""

    def done(self) -> bool:
        """Return whether the save is committed, without waiting."""

    def restore(self, template: Any) -> Any:
        """Return the saved tree on the devices. Leaves of the template are `jax.ShapeDtypeStruct` with a sharding."""

    def close(self) -> None:
        """Release what the saver holds open."""


@dataclass(frozen=True)
class CheckpointFormat:
    """A way to write a training state to disk, and what it can do.

    Attributes:
        saver: Its `Saver`, as ``module:attribute``.
        summary: One line for `artifex-bench list`.
        modes: Values of a case's `mode` that it supports.
        sharded: Whether it saves arrays that are sharded over devices, and restores them onto others.
        partial: Whether it restores a part of the arrays.
        chunked: Whether it has a chunk size.
        needs: Packages that `requirements` leaves out.
        detects_damage: Whether a restore from damaged files raises an error, as measured by the suite fault.
    """

    saver: str
    summary: str
    modes: tuple[str, ...] = ("sync",)
    sharded: bool = False
    partial: bool = False
    chunked: bool = False
    needs: tuple[str, ...] = ()
    detects_damage: bool = False

    def __post_init__(self) -> None:
        """Raise ConvertError if a field has another type."""
        for name, kind in get_type_hints(type(self)).items():
            check_value(name, getattr(self, name), kind)


_BOTH = ("sync", "async")


def _ours(summary: str) -> CheckpointFormat:
    saver = "artifex_bench.checkpoint_io.orbax:Ours"
    return CheckpointFormat(saver, summary, _BOTH, sharded=True, partial=True, chunked=True, detects_damage=True)


def _orbax(saver: str, summary: str) -> CheckpointFormat:
    return CheckpointFormat(f"artifex_bench.checkpoint_io.orbax:{saver}", summary, _BOTH, sharded=True)


def _peer(saver: str, summary: str, *needs: str, detects_damage: bool = False) -> CheckpointFormat:
    saver = f"artifex_bench.checkpoint_io.peers:{saver}"
    return CheckpointFormat(saver, summary, needs=needs, detects_damage=detects_damage)


FORMATS = {
    "auto": _ours("ours: digests, and a layout chosen by the number of arrays"),
    **{name: _ours(f"ours: digests, in the layout {name}") for name in layouts.FORMATS},
    "orbax": _orbax("Plain", "Orbax with its defaults"),
    "orbax-v1": _orbax("PlainV1", "Orbax's coming interface"),
    "safetensors": _peer("Safetensors", "safetensors", "safetensors"),
    "npz": _peer("Npz", "numpy.savez", detects_damage=True),
    "pickle": _peer("Pickle", "pickle, protocol 5"),
    "msgpack": _peer("Msgpack", "flax.serialization"),
    "torch": _peer("Torch", "torch.save", "torch"),
    "torch-dcp": _peer("TorchDcp", "torch.distributed.checkpoint", "torch"),
}


def load_format(name: str) -> CheckpointFormat:
    """Return the format of that name.

    Args:
        name: A name in FORMATS, or ``package.module:attribute`` for a `CheckpointFormat` of the user's own.

    Raises:
        CaseError: There is no such format, or the attribute is not a `CheckpointFormat`.
    """
    return load_entry("format", name, FORMATS, CheckpointFormat)


def make_saver(case: CheckpointCase | FaultCase, folder: Path) -> Saver:
    """Return a new saver of the case's format, on a folder."""
    saver: Saver = import_user_object("saver", load_format(case.format).saver)(case, folder)
    return saver


def check_case(case: CheckpointCase | FaultCase) -> None:
    """Raise CaseError if the format or the fault is unknown, or if the format does not support the case."""
    entry = load_format(case.format)
    if isinstance(case, FaultCase):
        from artifex_bench.checkpointing.faults import FAULTS

        check_choice("fault", case.fault, FAULTS)
        return
    if unsupported := next(_find_unsupported(entry, case), None):
        able = [name for name, other in FORMATS.items() if not any(_find_unsupported(other, case))]
        raise CaseError(f"format {case.format!r} does not support {unsupported}: change it, or use {', '.join(able)}")
    if case.restore == "reshard" and case.devices < 2:
        raise CaseError(f"restore 'reshard' with devices {case.devices}: needs 2 or more devices to restore onto fewer")
    least = case.arrays * 8 * case.devices
    if case.size < least:
        raise CaseError(f"size {case.size}: {case.arrays} arrays on {case.devices} devices need {least} bytes or more")


def _find_unsupported(entry: CheckpointFormat, case: CheckpointCase) -> Iterator[str]:
    """Yield each field of the case that the format does not support, with its value."""
    if case.mode not in entry.modes:
        yield f"mode {case.mode}"
    if case.devices > 1 and not entry.sharded:
        yield f"devices {case.devices}"
    if not {"partial": entry.partial, "reshard": entry.sharded}.get(case.restore, True):
        yield f"restore {case.restore}"
    if case.chunk is not None and not entry.chunked:
        yield f"chunk {case.chunk}"


def find_missing_package(name: str) -> str | None:
    """Return the first package that a format needs and that is not installed; None if all are."""
    needs = load_format(name).needs
    return next((package for package in needs if importlib.util.find_spec(package) is None), None)
