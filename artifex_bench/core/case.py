"""Cases: what to measure, nothing about how. Frozen, comparable, to JSON and back. Imports no JAX."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from artifex_bench.core.convert import (
    ConvertError,
    check_value,
    convert,
    is_encodable,
    show_value,
    suggest_choice,
    to_plain,
)
from artifex_bench.core.fields import Dtype, Positive, Seed, axis_names, case_fields

S = TypeVar("S", bound=Struct)

DTYPES = {"float32": 4, "bfloat16": 2}  # name -> bytes per element
MESH = ("data", "fsdp", "tensor")  # mesh axes, in the order of the mesh's devices
LOCAL = "local"  # the target that every machine has: the device that JAX finds here

# option groups of the command line
MODEL = {"group": "Model"}
PROGRAM = {"group": "Program and device"}
STATE = {"group": "Training state"}
STORAGE = {"group": "Saving and restoring"}


class CaseError(ValueError):
    """An impossible case or an invalid option. The message is one line with the value, the rule and what to do."""


class Case:
    """The base of all kinds of cases: a struct whose fields are the axes of a sweep.

    A field's type says which values are valid, and its `Meta` the help of its option on the command line.
    """

    __slots__ = ()
    kind: ClassVar[str]
    leading: ClassVar[tuple[str, ...]]  # the axes that name a case
    sizes: ClassVar[tuple[str, ...]]  # the axes that its label always shows

    def __post_init__(self) -> None:
        for field in case_fields(type(self)):
            value = getattr(self, field.name)
            try:
                check_value(field.name, value, field.type)
            except ConvertError as error:
                raise CaseError(str(error)) from None
            named = isinstance(value, str) and field.name != "mesh"
            if named and (not value.strip() or not is_encodable(value)):
                raise CaseError(
                    f"{field.name} {show_value(value)}: must be a name: `artifex-bench list` shows the valid ones"
                )

    @staticmethod
    def decode(data: Any) -> Case:
        """Return the case that JSON holds, of any kind."""
        return case_from_json(data)

    @property
    def is_local(self) -> bool:
        """Whether the case runs on the local target. Otherwise it is only compiled."""
        return True

    @property
    def baseline(self) -> Self:
        """The case that it is compared with; itself if its record needs no other."""
        return self


class RematCase(Case, Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="remat"):
    """One training step of one model under one rematerialization strategy.

    `mesh` is stored in the order of MESH, without axes of 1. `remat3` chooses JAX's implementation of
    `jax.checkpoint`: `on` is the one that JAX_REMAT3=1 switches on.
    """

    kind: ClassVar[str] = "remat"
    leading: ClassVar[tuple[str, ...]] = ("model", "strategy")
    sizes: ClassVar[tuple[str, ...]] = ("depth", "width", "batch")

    model: Annotated[
        str, Meta(description="Model: mlp, transformer, vae, or your own package.module:attribute.", extra=MODEL)
    ] = "transformer"
    strategy: Annotated[
        str,
        Meta(description="Rematerialization strategy: none,all,segments-sqrt/dots_saveable.", extra=PROGRAM),
    ] = "none"
    depth: Annotated[Positive, Meta(description="Number of layers.", extra=MODEL)] = 4
    width: Annotated[Positive, Meta(description="Hidden size.", extra=MODEL)] = 256
    batch: Annotated[Positive, Meta(description="Sequences or samples per step.", extra=MODEL)] = 8
    sequence: Annotated[Positive | None, Meta(description="Tokens per sequence.", extra=MODEL)] = 128
    heads: Annotated[Positive | None, Meta(description="Attention heads.", extra=MODEL)] = 4
    dtype: Annotated[Dtype, Meta(description="Dtype of parameters and activations.", extra=MODEL)] = "float32"
    layers: Annotated[
        Literal["scan", "unroll"], Meta(description="How layers run: by one scan, or unrolled.", extra=PROGRAM)
    ] = "scan"
    step: Annotated[
        Literal["train", "gradient"],
        Meta(description="A whole training step, or only the forward and backward pass.", extra=PROGRAM),
    ] = "train"
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd"], Meta(description="Optimizer of the training step.", extra=PROGRAM)
    ] = "adam"
    compiler: Annotated[
        Literal["faithful", "default"],
        Meta(
            description="Compiler options: faithful keeps recomputation on CPUs, default is those of a plain jit.",
            extra=PROGRAM,
        ),
    ] = "faithful"
    seed: Annotated[Seed, Meta(description="Random seed of weights and data.", extra=MODEL)] = 0
    target: Annotated[
        str,
        Meta(
            description="The local device, or devices to compile for ahead of time: tpu:v5e,gpu:h100:8.", extra=PROGRAM
        ),
    ] = LOCAL
    mesh: Annotated[
        str | None,
        Meta(
            description="Devices along the axes data, fsdp and tensor: data=4,fsdp=2. Repeatable.",
            extra=PROGRAM,
        ),
    ] = None
    remat3: Annotated[
        Literal["off", "on"],
        Meta(description="JAX's new jax.checkpoint (JAX_REMAT3, from jax 0.12).", extra=PROGRAM),
    ] = "off"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target == "attached":  # the name in files of version 0.1
            force_setattr(self, "target", LOCAL)
        force_setattr(self, "mesh", ",".join(f"{axis}={n}" for axis, n in mesh_axes(self.mesh).items()) or None)

    @property
    def is_local(self) -> bool:
        """Whether the case runs on the local target. Otherwise it is only compiled."""
        return self.target == LOCAL

    @property
    def baseline(self) -> RematCase:
        """The same case without rematerialization."""
        return msgspec.structs.replace(self, strategy="none")

    @property
    def devices(self) -> int:
        """Number of devices that the program is split over."""
        return math.prod(mesh_axes(self.mesh).values())


class CheckpointCase(Case, Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="checkpoint"):
    """One training state, saved and restored in one way.

    `size` is the bytes of the parameters, in `arrays` equal arrays. With `optimizer_state` Adam's two moments are
    saved too.
    """

    kind: ClassVar[str] = "checkpoint"
    leading: ClassVar[tuple[str, ...]] = ("format", "mode")
    sizes: ClassVar[tuple[str, ...]] = ("size", "arrays")

    format: Annotated[str, Meta(description="Formats: `artifex-bench list formats`.", extra=STORAGE)] = "auto"
    mode: Annotated[
        Literal["sync", "async"], Meta(description="Whether training waits for the save.", extra=STORAGE)
    ] = "sync"
    size: Annotated[
        Positive, Meta(description="Bytes of the saved parameters: 64MiB,1GiB.", extra=STATE | {"unit": "bytes"})
    ] = 64 * 2**20
    arrays: Annotated[Positive, Meta(description="Number of arrays that hold the parameters.", extra=STATE)] = 16
    content: Annotated[
        Literal["random", "trained", "zeros"],
        Meta(description="Values of the arrays: they decide how well files compress.", extra=STATE),
    ] = "random"
    dtype: Annotated[Dtype, Meta(description="Dtype of the arrays.", extra=STATE)] = "float32"
    optimizer_state: Annotated[bool, Meta(description="Whether Adam's moments are saved too.", extra=STATE)] = False
    devices: Annotated[Positive, Meta(description="Number of devices to shard over.", extra=STATE)] = 1
    restore: Annotated[
        Literal["same", "reshard", "partial"],
        Meta(description="What is restored: all, all onto half of the devices, or half of the arrays.", extra=STORAGE),
    ] = "same"
    cache: Annotated[
        Literal["warm", "cold"], Meta(description="Whether the page cache holds the files.", extra=STORAGE)
    ] = "warm"
    chunk: Annotated[
        Positive | None,
        Meta(description="Largest stored chunk in bytes: 4MiB.", extra=STORAGE | {"unit": "bytes"}),
    ] = None
    seed: Annotated[Seed, Meta(description="Random seed of the state.", extra=STATE)] = 0


class FaultCase(Case, Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fault"):
    """Repeated damage to one file of a saved state, and what a restore returns.

    Each trial damages a fresh copy in one random place.
    """

    kind: ClassVar[str] = "fault"
    leading: ClassVar[tuple[str, ...]] = ("format", "fault")
    sizes: ClassVar[tuple[str, ...]] = ("dtype", "trials")

    format: Annotated[str, Meta(description="Formats: `artifex-bench list formats`.", extra=STORAGE)] = "auto"
    fault: Annotated[str, Meta(description="Faults: flip_bit, zero_block, truncate, delete.", extra=STORAGE)] = (
        "flip_bit"
    )
    dtype: Annotated[Dtype, Meta(description="Dtype of the arrays.", extra=STATE)] = "float32"
    trials: Annotated[Positive, Meta(description="Number of trials per fault.", extra=STORAGE)] = 60
    size: Annotated[
        Positive, Meta(description="Bytes of the saved parameters: 256KiB.", extra=STATE | {"unit": "bytes"})
    ] = 256 * 2**10
    arrays: Annotated[Positive, Meta(description="Number of arrays that hold the parameters.", extra=STATE)] = 8
    seed: Annotated[Seed, Meta(description="Random seed of the state and of the damage.", extra=STATE)] = 0


def mesh_axes(mesh: str | None) -> dict[str, int]:
    """Return {axis: devices along it} of a mesh, in the order of MESH, without axes of 1; empty for None or ``none``.

    Raises:
        CaseError: The text is not a mesh.
    """
    if mesh in (None, "none"):
        return {}
    pairs = [part.partition("=") for part in str(mesh).split(",")]
    sizes = {name.strip(): int(size) for name, _, size in pairs if re.fullmatch(r"\s*0*[1-9][0-9]{0,5}\s*", size)}
    if len(sizes) < len(pairs) or not sizes.keys() <= set(MESH):
        raise CaseError(
            f"mesh {show_value(mesh)}: must be axes with their devices, such as data=4,fsdp=2: valid are "
            f"{', '.join(MESH)}, or none"
        )
    return {axis: sizes[axis] for axis in MESH if sizes.get(axis, 1) > 1}


def check_choice(what: str, value: Any, valid: Mapping[str, Any] | Sequence[str]) -> None:
    """Raise CaseError, with the nearest or all valid choices, unless `value` is one of them."""
    if isinstance(value, (list, dict)) or value not in valid:  # an unhashable value is in no mapping
        raise CaseError(f"unknown {what} {show_value(value)}: {suggest_choice(value, list(valid))}")


def replace_fields(struct: S, **changes: Any) -> S:
    """Return a copy of a case, or of another struct, with some fields changed."""
    return msgspec.structs.replace(struct, **changes)


def case_to_json(case: Case) -> dict[str, Any]:
    """Return the case as plain JSON values, with its kind."""
    data: dict[str, Any] = to_plain(case)
    return data


def case_from_json(data: Any) -> Case:
    """Return the case that `case_to_json` wrote.

    Raises:
        CaseError: The kind or a field is unknown, or a value is invalid.
    """
    from artifex_bench.core.registry import KINDS, load_kind

    if not isinstance(data, Mapping):
        raise CaseError(f"case {show_value(data)}: must be an object")
    kind = data.get("kind")
    check_choice("kind of case", kind, KINDS)
    case_type = load_kind(str(kind)).case_type
    for name in data:
        check_choice("field of a case", name, ("kind", *axis_names(case_type)))
    try:
        case: Case = convert(data, case_type)
    except ConvertError as error:
        raise CaseError(str(error)) from None
    return case
