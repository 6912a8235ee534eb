"""Details of measurements: what a probe records beside its values, and an environment, as JSON objects. No JAX."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta, Struct

from artifex_bench.core.fields import Amount


class Environment(TypedDict, total=False):
    """What is read of a record's environment; it may hold more."""

    versions: dict[str, str | None]
    flags: dict[str, str]
    device: str
    memory_bytes: Amount
    device_memory_bytes: Amount


class Leaf(Struct):
    """One parameter in a gradient's sketch: its norm and its projections on random vectors."""

    norm: Amount
    projections: Annotated[tuple[float, ...], Meta(min_length=1)]


class BudgetDetail(TypedDict, total=False):
    """Detail of `budget_bytes`."""

    plan: str | None


class ParameterDetail(TypedDict, total=False):
    """Detail of `parameter_bytes`."""

    dtypes: tuple[str, ...]


class FlopsDetail(TypedDict, total=False):
    """Detail of `gradient_flops`."""

    counting_loops_once: Amount
    product_dtypes: tuple[str, ...]


class PeakDetail(TypedDict, total=False):
    """Detail of `compiled_peak_bytes`: its parts, and the formula's name."""

    computed_in: str
    argument_bytes: Amount | None
    output_bytes: Amount | None
    temp_bytes: Amount | None
    host_temp_bytes: Amount | None


class SketchDetail(TypedDict):
    """Detail of `gradient_sketch`."""

    loss: float
    leaves: dict[str, Leaf]


class Place(Struct):
    """Where in a program something happens."""

    phase: str
    scope: str
    operation: str
    source: str


class LiveBuffer(Struct, forbid_unknown_fields=True):
    """A buffer of the temporaries. `lives` are (first instruction, last instruction, bytes)."""

    name: str
    scope: str
    operation: str
    phase: str
    shape: str
    source: str
    lives: tuple[tuple[int, int, Amount], ...]


class LiveDetail(TypedDict):
    """Detail of `live_bytes`, the bytes alive at each instruction. Older records have no `buffers`."""

    moment: int
    throughout_bytes: Amount
    peak_bytes: Amount
    at: Place
    phases: tuple[str, ...]
    buffers: NotRequired[tuple[LiveBuffer, ...]]


class Buffer(Struct, forbid_unknown_fields=True):
    """A buffer at the compiled peak. Differences of profiles may be negative."""

    bytes: float
    scope: str
    operation: str
    phase: str
    shape: str
    source: str


class Residual(Struct, forbid_unknown_fields=True):
    """A value that autodiff saves for the backward pass."""

    bytes: Amount
    scope: str
    operation: str
    name: str | None
    shape: str
    dtype: str
    source: str


class BuffersDetail(TypedDict, total=False):
    """Detail of `peak_buffers`."""

    rows: tuple[Buffer, ...]


class ResidualsDetail(TypedDict, total=False):
    """Detail of `saved_residuals`."""

    rows: tuple[Residual, ...]


DETAILS: dict[str, Any] = {
    "budget_bytes": BudgetDetail,
    "parameter_bytes": ParameterDetail,
    "gradient_flops": FlopsDetail,
    "compiled_peak_bytes": PeakDetail,
    "gradient_sketch": SketchDetail,
    "live_bytes": LiveDetail,
    "peak_buffers": BuffersDetail,
    "saved_residuals": ResidualsDetail,
}
NEEDED = ("gradient_sketch", "live_bytes")  # their details are checked only beside values: a note has none
