"""Cases: what to measure, nothing about how. Frozen, comparable, to JSON and back. Imports no JAX."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from artifex_bench.core.convert import ConvertError, choices, convert, shown

DTYPES = {"float32": 4, "bfloat16": 2}  # name -> bytes an element
LAYERS = ("scan", "unroll")
STEPS = ("train", "gradient")
COMPILERS = ("faithful", "default")
REMAT3 = ("off", "on")
OPTIMIZERS = ("adam", "adamw", "sgd")
MODES = ("sync", "async")
RESTORES = ("same", "reshard", "partial")
CACHES = ("warm", "cold")
CONTENTS = ("random", "trained", "zeros")
MESH = ("data", "fsdp", "tensor")  # what is split along an axis of a mesh, in the order of its devices
LOCAL = "local"  # the target that every machine has: the device that JAX finds here


class CaseError(ValueError):
    """A case that cannot be: the message is one line with the value, the rule and the valid choices."""


@dataclass(frozen=True)
class RematCase:
    """One training step of one model under one rematerialization strategy.

    ``depth`` counts layers, ``width`` is the hidden size, ``batch`` the sequences or samples a step,
    ``sequence`` the tokens a sequence and ``heads`` the attention heads (both None where the model has none).
    ``target`` names the device that it is compiled for, and run on if that is the attached one. ``mesh`` says over how
    many of them, and how, it is split: ``data=4,fsdp=2``; None on one device. It is kept in order, without axes of 1.
    ``remat3`` chooses JAX's implementation of `jax.checkpoint`: ``on`` is the one that JAX_REMAT3=1 switches on.
    """

    kind: ClassVar[str] = "remat"
    leading: ClassVar[tuple[str, ...]] = ("model", "strategy")  # what names a case
    sizes: ClassVar[tuple[str, ...]] = ("depth", "width", "batch")  # what is always said of it

    model: str = "transformer"
    strategy: str = "none"
    depth: int = 4
    width: int = 256
    batch: int = 8
    sequence: int | None = 128
    heads: int | None = 4
    dtype: str = "float32"
    layers: str = "scan"
    step: str = "train"
    optimizer: str = "adam"
    compiler: str = "faithful"
    seed: int = 0
    target: str = LOCAL
    mesh: str | None = None
    remat3: str = "off"

    def __post_init__(self) -> None:
        for axis in ("depth", "width", "batch", "sequence", "heads"):
            _check_positive(axis, getattr(self, axis), optional=axis in ("sequence", "heads"))
        _check_seed(self.seed)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("layers", self.layers, LAYERS)
        check_choice("step", self.step, STEPS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("compiler", self.compiler, COMPILERS)
        check_choice("remat3", self.remat3, REMAT3)
        for axis in (*self.leading, "target"):
            _check_name(axis, getattr(self, axis))
        if self.target == "attached":  # its name in files of version 0.1
            object.__setattr__(self, "target", LOCAL)
        object.__setattr__(self, "mesh", ",".join(f"{a}={n}" for a, n in mesh_axes(self.mesh).items()) or None)

    @property
    def devices(self) -> int:
        """How many the program is split over."""
        return math.prod(mesh_axes(self.mesh).values())


@dataclass(frozen=True)
class CheckpointCase:
    """One training state saved, and restored, in one way.

    ``format`` names a layout of ours, plain Orbax, or a peer. ``size`` is the bytes of the parameters, in ``arrays``
    arrays alike; with ``optimizer_state`` Adam's two moments come on top. ``devices`` is how many the state is
    sharded over, ``restore`` where it goes: as it was, onto half the devices (reshard), or half its arrays (partial).
    ``chunk`` bounds a stored chunk in bytes (None: one a shard).
    """

    kind: ClassVar[str] = "checkpoint"
    leading: ClassVar[tuple[str, ...]] = ("format", "mode")
    sizes: ClassVar[tuple[str, ...]] = ("size", "arrays")

    format: str = "auto"
    mode: str = "sync"
    size: int = 64 * 2**20
    arrays: int = 16
    content: str = "random"
    dtype: str = "float32"
    optimizer_state: bool = False
    devices: int = 1
    restore: str = "same"
    cache: str = "warm"
    chunk: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for axis in ("size", "arrays", "devices", "chunk"):
            _check_positive(axis, getattr(self, axis), optional=axis == "chunk")
        _check_seed(self.seed)
        check_choice("mode", self.mode, MODES)
        check_choice("content", self.content, CONTENTS)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("restore", self.restore, RESTORES)
        check_choice("cache", self.cache, CACHES)
        _check_name("format", self.format)


@dataclass(frozen=True)
class FaultCase:
    """Damage to one file of a saved state, again and again: what does a restore give back?

    Each of ``trials`` damages a fresh copy in one random place, by the ``fault`` of that name.
    """

    kind: ClassVar[str] = "fault"
    leading: ClassVar[tuple[str, ...]] = ("format", "fault")
    sizes: ClassVar[tuple[str, ...]] = ("dtype", "trials")

    format: str = "auto"
    fault: str = "flip_bit"
    dtype: str = "float32"
    trials: int = 60
    size: int = 256 * 2**10
    arrays: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for axis in ("trials", "size", "arrays"):
            _check_positive(axis, getattr(self, axis), optional=False)
        _check_seed(self.seed)
        check_choice("dtype", self.dtype, DTYPES)
        for axis in self.leading:
            _check_name(axis, getattr(self, axis))


def mesh_axes(mesh: str | None) -> dict[str, int]:
    """{axis: devices along it} of a mesh, in the order of MESH, without axes of 1; empty for None or ``none``.

    Raises CaseError.
    """
    if mesh in (None, "none"):
        return {}
    pairs = [part.partition("=") for part in str(mesh).split(",")]
    sizes = {name.strip(): int(size) for name, _, size in pairs if re.fullmatch(r"\s*0*[1-9][0-9]{0,5}\s*", size)}
    if len(sizes) < len(pairs) or not sizes.keys() <= set(MESH):
        raise CaseError(
            f"mesh {shown(mesh)}: must be axes, each once with its devices, such as data=4,fsdp=2; valid are "
            f"{', '.join(MESH)}, or none"
        )
    return {axis: sizes[axis] for axis in MESH if sizes.get(axis, 1) > 1}


def _check_name(axis: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not is_encodable(value):
        raise CaseError(f"{axis} {shown(value)}: must be a name; `artifex-bench list` shows them")


def is_encodable(name: str) -> bool:
    """Whether a name is text that a file may hold: half of a surrogate pair is none."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _check_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise CaseError(f"seed {shown(seed)}: must be a whole number from 0 to {2**32 - 1}")


def _check_positive(axis: str, value: Any, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CaseError(f"{axis} {shown(value)}: must be a whole number of 1 or more")
    if value >= 2**63:  # more than the system can count
        raise CaseError(f"{axis} {shown(value)}: must be less than 2**63")


def check_choice(what: str, value: Any, valid: Mapping[str, Any] | Sequence[str]) -> None:
    """Raise CaseError, naming the valid choices, unless `value` is one of them."""
    if isinstance(value, (list, dict)) or value not in valid:  # what has no hash is in no mapping
        raise CaseError(f"unknown {what} {shown(value)}: {choices(value, list(valid))}")


Case = RematCase | CheckpointCase | FaultCase
KINDS: dict[str, type[Case]] = {kind.kind: kind for kind in (RematCase, CheckpointCase, FaultCase)}
C = TypeVar("C", bound=Case)


def axes(kind: type[Any]) -> tuple[str, ...]:
    """The names of the fields of a kind of case, in order."""
    return tuple(field.name for field in dataclasses.fields(kind))


def grid(kind: type[C], **values: Any) -> tuple[C, ...]:
    """Every combination of the given axes, the last axis varying fastest; equal cases once.

    Each value is one setting or a list of them; axes left out keep their default.
    Raises CaseError for an unknown axis, an empty list, or a setting that is not valid.
    """
    for axis in values:
        check_choice("axis", axis, axes(kind))
    lists = {axis: as_list(axis, value) for axis, value in values.items()}
    cases = (kind(**dict(zip(lists, point, strict=True))) for point in itertools.product(*lists.values()))
    return tuple(dict.fromkeys(cases))


def as_list(axis: str, value: Any) -> list[Any]:
    """A setting, or a list of them, as a list. Raises CaseError where it is empty."""
    items = list(value) if isinstance(value, (list, tuple, range)) else [value]
    if not items:
        raise CaseError(f"axis {axis!r} is empty: give at least one value")
    return items


def changed_fields(case: Case) -> dict[str, Any]:
    """The fields that differ from their default, in order."""
    return {
        field.name: value for field in dataclasses.fields(case) if (value := getattr(case, field.name)) != field.default
    }


def case_id(case: Case) -> str:
    """A stable name, e.g. ``transformer.dots_saveable.1f0c9a2b``.

    Hashes only what differs from the defaults, so that a field added later leaves old names alone.
    """
    canonical = json.dumps(changed_fields(case), sort_keys=True)
    digest = hashlib.blake2b(canonical.encode(), digest_size=5).hexdigest()
    return ".".join([*(str(getattr(case, axis)) for axis in case.leading), digest])


def label(case: Case) -> str:
    """A case in words: ``transformer all depth=4 width=256 batch=8 dtype=bfloat16``; other defaults go unsaid."""
    told = (*case.sizes, *(axis for axis in changed_fields(case) if axis not in (*case.leading, *case.sizes)))
    names = (str(getattr(case, axis)) for axis in case.leading)
    return " ".join([*names, *(f"{axis}={value}" for axis in told if (value := getattr(case, axis)) is not None)])


def runs(case: Case) -> bool:
    """Whether the case is run here, or only compiled for a device that is not there."""
    return getattr(case, "target", LOCAL) == LOCAL


def reference(case: Case) -> Case:
    """What a case is held against: for remat the same without rematerialization. Others carry their own measure."""
    return dataclasses.replace(case, strategy="none") if isinstance(case, RematCase) else case


def with_references(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases, each group led by its reference (added where the grid left it out)."""
    return tuple(dict.fromkeys(one for case in cases for one in (reference(case), case)))


def to_json(case: Case) -> dict[str, Any]:
    """The case as plain JSON values, with its kind."""
    return {"kind": case.kind, **dataclasses.asdict(case)}


def from_json(data: Mapping[str, Any]) -> Case:
    """The case that `to_json` wrote. Raises CaseError for another kind, unknown fields, or values that cannot be."""
    fields = dict(data)
    kind = fields.pop("kind", None)
    check_choice("kind of case", kind, KINDS)
    for name in fields:
        check_choice("field of a case", name, axes(KINDS[kind]))
    try:
        found: Case = convert(fields, KINDS[kind])
    except ConvertError as error:
        raise CaseError(str(error)) from None
    return found
