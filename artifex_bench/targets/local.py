"""The local target: its compiler options, the compiled peak of a program, and the measured peak of a process.

The GPU and TPU code follows the documentation of `jax.Device.memory_stats` and of XLA's memory analysis. It is tested
with fake devices and has not yet run on hardware.
"""

from __future__ import annotations

import ctypes
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifex_bench.targets.target import Target

REFUSED = "the compiler's out-of-memory error"  # the formula of a peak that is read from that error
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = r"([\d.]+)([KMGT]?)"
# libtpu's message: "the total memory required … (27.44G) exceeds available HBM (15.75G)", and before 2026
# "Ran out of memory in memory space hbm. Used 27.44G of 15.75G hbm."
_OUT_OF_MEMORY = re.compile(rf"\({_SIZE}\) exceeds available HBM|Used {_SIZE} of [\d.]+[KMGT]? hbm")


def load_local_target() -> Target:
    """Return the device that JAX finds on this machine. Initializes it."""
    import jax

    platform = jax.default_backend()
    return Target(platform, lambda compiler: compiler_options(platform, compiler), tuple(jax.local_devices()))


def compiler_options(platform: str, compiler: str) -> dict[str, str | bool]:
    """Return the XLA options of `faithful` or `default` compilation on a platform."""
    from artifex_bench.compat import faithful_options

    return faithful_options(platform) if compiler == "faithful" else {}


def why_no_offload(platform: str) -> str | None:
    """Return why residuals cannot be offloaded to host memory on a platform; None if they can."""
    if platform == "cpu":
        return "the cpu has no host memory apart from its own: an offload policy would act as a save"
    return None


def compile_program(target: Target, lowered: Any, options: dict[str, Any]) -> tuple[Any | None, int, dict[str, Any]]:
    """Compile a lowered program for a target.

    Args:
        target: What to compile for.
        lowered: A `jax.stages.Lowered`.
        options: XLA options.

    Returns:
        The compiled program, its peak in bytes, and the parts of the peak. If the compiler refuses the program for its
        memory, the program is None and the peak is what the compiler says it needs. The compiler rounds that number,
        so that it may read as no more than the capacity. It is then taken as one byte more than the capacity.
    """
    import jax

    try:
        step = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        needed = parse_needed_bytes(str(error))
        if needed is None:
            raise
        least = target.description.capacity_bytes + 1 if target.description else 0
        return None, max(needed, least), {"formula": REFUSED}
    return step, *compute_compiled_peak(target.platform, step.memory_analysis())


@functools.cache
def computes_in_float32(dtype: str) -> bool:
    """Return whether XLA computes matrix products of a dtype in float32 on this machine's CPU, with its memory.

    XLA does not report it, and it differs by version: jax 0.10 widens bfloat16, jax 0.12 does not, and both widen
    float16. Therefore a product is compiled and its HLO is searched.
    """
    import jax

    x = jax.ShapeDtypeStruct((256, 256), dtype)
    text = jax.jit(lambda x: x @ x).lower(x).compile().as_text()
    return re.search(r"= f32\[256,256\]\S* (dot|custom-call|fusion)\(", text or "") is not None


def parse_needed_bytes(error: str) -> int | None:
    """Return the bytes that a program needs, from the TPU compiler's out-of-memory error; None for other errors.

    The compiler rounds to 0.01 of a unit (KiB, MiB, GiB).
    """
    match = _OUT_OF_MEMORY.search(error)
    if match is None:
        return None
    number, unit = next((match[i], match[i + 1]) for i in (1, 3) if match[i])
    return round(float(number) * 1024 ** _UNITS[unit])


def compute_compiled_peak(platform: str, analysis: Any) -> tuple[int, dict[str, Any]]:
    """Return the compiled peak in bytes, and its parts, from `compiled.memory_analysis()`.

    The peak is everything that the program allocates in the device's main memory. XLA's `peak_memory_in_bytes` is
    another figure: on a CPU it leaves out temporaries. On a TPU it includes buffers in on-chip memory (VMEM) and leaves
    out the gaps between buffers. XLA's `ComputeTotalAllocationBytes` is the figure by which the TPU compiler refuses
    programs. jax 0.10 does not report it: a TPU's peak is then the smaller of two figures, `peak_memory_in_bytes` and
    the sum with all temporaries at once.
    """
    parts = {
        "argument_bytes": int(analysis.argument_size_in_bytes),
        "output_bytes": int(analysis.output_size_in_bytes),
        "alias_bytes": int(analysis.alias_size_in_bytes),
        "temp_bytes": int(analysis.temp_size_in_bytes),
        "host_temp_bytes": int(getattr(analysis, "host_temp_size_in_bytes", 0)),
    }
    allocated = parts["argument_bytes"] + parts["output_bytes"] - parts["alias_bytes"] + parts["temp_bytes"]
    if platform != "cpu" and (total := getattr(analysis, "total_allocation_bytes", 0)):
        return int(total), {**parts, "formula": "total_allocation_bytes"}
    if platform == "tpu" and (live := int(analysis.peak_memory_in_bytes)) < allocated:
        return live, {**parts, "formula": "peak_memory_in_bytes"}
    return allocated, {**parts, "formula": "argument + output - alias + temp"}


@dataclass(frozen=True)
class Meter:
    """Measures peak memory. Call `start`, create the arrays, call `reset`, run the program, call `peak`.

    Attributes:
        source: Where the peak is read, or why it cannot be read.
        start: Notes the memory in use before the arrays exist.
        reset: Forgets the peak so far.
        peak: Returns the peak in bytes, or None if it cannot be read.
    """

    source: str
    start: Callable[[], None]
    reset: Callable[[], None]
    peak: Callable[[], int | None]


def make_meter(device: Any, devices: int = 1) -> Meter:
    """Make the meter of a device.

    GPU and TPU: the allocator's own peak since the process began. CPU: the rise of the process's resident peak
    (`VmHWM`, reset by /proc/self/clear_refs, Linux only) over its resident memory before the arrays were created.

    Args:
        device: The first device of the program.
        devices: Number of devices that the program is sharded over. Several CPU devices share the process, so that
            none has a peak of its own.
    """
    if device.platform != "cpu":
        stats: Mapping[str, Any] | None = device.memory_stats()
        if not stats or "peak_bytes_in_use" not in stats:
            return _make_blind_meter(f"{device.device_kind} reports no peak_bytes_in_use")
        return Meter(
            "device.memory_stats()['peak_bytes_in_use']",
            start=_do_nothing,
            reset=_do_nothing,
            peak=lambda: int(device.memory_stats()["peak_bytes_in_use"]),
        )
    if devices > 1:
        return _make_blind_meter(
            f"the {devices} devices share this process, whose resident peak is that of all of them together"
        )
    return make_resident_meter()


def _do_nothing() -> None:
    """Do nothing: the allocator keeps its own peak from the start of the process."""


def _make_blind_meter(reason: str) -> Meter:
    return Meter(reason, _do_nothing, _do_nothing, lambda: None)


def make_resident_meter() -> Meter:
    """Make the meter of this process's resident memory, whatever its devices."""
    if not Path("/proc/self/clear_refs").exists():
        return _make_blind_meter("the resident peak of a process can be reset on Linux only")
    before = 0

    def start() -> None:
        nonlocal before
        before = _read_settled_resident_bytes()

    def reset() -> None:
        _trim_heap()
        Path("/proc/self/clear_refs").write_text("5")

    return Meter("rise of VmHWM of the process", start, reset, lambda: max(0, _read_status_bytes("VmHWM") - before))


def _read_settled_resident_bytes() -> int:
    """Return the resident bytes after the heap is trimmed and the runtime's threads have released freed buffers.

    Without the trim, new arrays would reuse pages that compilation left behind, and would not count.
    """
    seen = []
    for _ in range(100):
        _trim_heap()
        seen.append(_read_status_bytes("VmRSS"))
        if len(seen) >= 5 and max(seen[-5:]) - min(seen[-5:]) < 2**20:
            break
        time.sleep(0.02)
    return seen[-1]


def _trim_heap() -> None:
    _libc("malloc_trim", 0)


@contextmanager
def return_freed_memory() -> Iterator[None]:
    """Make glibc return freed memory to the system at once, so that the resident peak is the memory in use.

    It costs time, so steps are timed outside of this context. On exit the thresholds are those that glibc arrives at
    by itself in a process that has freed large buffers (`mallopt(3)`).
    """
    _libc("mallopt", _MMAP_THRESHOLD, 128 * 2**10)
    try:
        yield
    finally:
        _libc("mallopt", _MMAP_THRESHOLD, 32 * 2**20)
        _libc("mallopt", _TRIM_THRESHOLD, 64 * 2**20)


# Parameters of mallopt(3): the size from which a buffer gets its own pages, and the free bytes kept on top of the heap.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


def _libc(function: str, *arguments: int) -> None:
    """Call a function of glibc, if the C library has it (musl does not)."""
    call = getattr(ctypes.CDLL(None), function, None)
    if call is not None:
        call(*arguments)


def _read_status_bytes(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(match[1]) * 1024
