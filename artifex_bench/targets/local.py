"""The attached device: what its backend needs, and how its memory is read, planned or in use.

The GPU and TPU paths follow the documentation of `jax.Device.memory_stats` and of XLA's memory analysis; they are
tested with fake devices and have not yet run on hardware.
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

from artifex_bench.targets import Target

REFUSED = "the compiler's out-of-memory error"
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = r"([\d.]+)([KMGT]?)"
# as libtpu writes it: "the total memory required … (27.44G) exceeds available HBM (15.75G)", and before 2026
# "Ran out of memory in memory space hbm. Used 27.44G of 15.75G hbm."
_OUT_OF_MEMORY = re.compile(rf"\({_SIZE}\) exceeds available HBM|Used {_SIZE} of [\d.]+[KMGT]? hbm")


def find(name: str) -> Target:
    """The device that JAX finds on this machine, which it starts."""
    import jax

    platform = jax.default_backend()
    return Target(platform, lambda compiler: compiler_options(platform, compiler), tuple(jax.local_devices()))


def compiler_options(platform: str, compiler: str) -> dict[str, str | bool]:
    """The XLA options for `faithful` or `default` compilation on a platform."""
    from artifex_bench.compat import faithful_options

    return faithful_options(platform) if compiler == "faithful" else {}


def why_no_offload(platform: str) -> str | None:
    """Why residuals cannot be offloaded to host memory there, or None where they can."""
    if platform == "cpu":
        return "the cpu has no host memory apart from its own: an offload policy would act as a save"
    return None


def compile_for(target: Target, lowered: Any, options: dict[str, Any]) -> tuple[Any | None, int, dict[str, Any]]:
    """(the compiled program, its peak in bytes, the peak's parts); where the compiler refuses it for its memory, None
    and what it asked for. That is told rounded, and may read as no more than there is: it is taken to be more.
    """
    import jax

    try:
        step = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        needed = needed_bytes(str(error))
        if needed is None:
            raise
        least = target.description.capacity_bytes + 1 if target.description else 0
        return None, max(needed, least), {"formula": REFUSED}
    return step, *compiled_peak(target.platform, step.memory_analysis())


@functools.cache
def widens(dtype: str) -> bool:
    """Whether XLA computes products of this dtype in float32 on this machine's CPU, so that they take its memory.

    XLA has no option that tells, and it differs by version: bfloat16 is widened by jax 0.10 and not by jax 0.12,
    float16 by both. So a product is compiled and read.
    """
    import jax

    x = jax.ShapeDtypeStruct((256, 256), dtype)
    text = jax.jit(lambda x: x @ x).lower(x).compile().as_text()
    return re.search(r"= f32\[256,256\]\S* (dot|custom-call|fusion)\(", text or "") is not None


def needed_bytes(error: str) -> int | None:
    """The bytes that a program needs, from the TPU compiler's out-of-memory error, which rounds to 1 % of a unit."""
    found = _OUT_OF_MEMORY.search(error)
    if found is None:
        return None
    number, unit = next((found[i], found[i + 1]) for i in (1, 3) if found[i])
    return round(float(number) * 1024 ** _UNITS[unit])


def compiled_peak(platform: str, analysis: Any) -> tuple[int, dict[str, Any]]:
    """(peak bytes, its parts) from `compiled.memory_analysis()`.

    The peak is all that the program allocates in the device's main memory. `peak_memory_in_bytes` is not: on a CPU it
    leaves the temporaries out; on a TPU it counts buffers in on-chip memory (VMEM) too, and leaves out gaps between
    buffers. XLA's `ComputeTotalAllocationBytes` is the figure by which the TPU compiler refuses programs. Without it
    (jax 0.10) a TPU's peak is the smaller of two figures: with on-chip memory, or with all temporaries at once.
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
    """Reads peak memory: `start` before the arrays are made, `reset` once they are, then `peak` in bytes.

    `peak` gives None where the peak cannot be read; `source` then says why.
    """

    source: str
    start: Callable[[], None]
    reset: Callable[[], None]
    peak: Callable[[], int | None]


def meter(device: Any, of: int = 1) -> Meter:
    """The meter for a device, the first `of` as many that a program is split over.

    GPU and TPU: the allocator's own peak since the process began. CPU: the rise of the process's resident peak
    (`VmHWM`, reset through /proc/self/clear_refs: Linux only) above what was resident before the arrays were made: no
    peak of one device where several share the process.
    """
    if device.platform != "cpu":
        stats: Mapping[str, Any] | None = device.memory_stats()
        if not stats or "peak_bytes_in_use" not in stats:
            return _blind(f"{device.device_kind} reports no peak_bytes_in_use")
        return Meter(
            "device.memory_stats()['peak_bytes_in_use']",
            start=_nothing,
            reset=_nothing,
            peak=lambda: int(device.memory_stats()["peak_bytes_in_use"]),
        )
    if of > 1:
        return _blind(f"the {of} devices share this process, whose resident peak is that of all of them together")
    return resident_meter()


def _nothing() -> None:
    """The allocator keeps its own peak from the start of the process."""


def _blind(reason: str) -> Meter:
    return Meter(reason, _nothing, _nothing, lambda: None)


def resident_meter() -> Meter:
    """The meter of this process's own memory, whatever the devices."""
    if not Path("/proc/self/clear_refs").exists():
        return _blind("the resident peak of a process can be reset on Linux only")
    before = 0

    def start() -> None:
        nonlocal before
        before = _settled_resident_bytes()

    def reset() -> None:
        _trim_heap()
        Path("/proc/self/clear_refs").write_text("5")

    return Meter("rise of VmHWM of the process", start, reset, lambda: max(0, _status_bytes("VmHWM") - before))


def _settled_resident_bytes() -> int:
    """Resident bytes once the heap is trimmed and the runtime's own threads have let go of freed buffers.

    Without the trim, arrays would be made in pages that compilation left behind, and go unseen.
    """
    seen = []
    for _ in range(100):
        _trim_heap()
        seen.append(_status_bytes("VmRSS"))
        if len(seen) >= 5 and max(seen[-5:]) - min(seen[-5:]) < 2**20:
            break
        time.sleep(0.02)
    return seen[-1]


def _trim_heap() -> None:
    _libc("malloc_trim", 0)


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """Within, what a CPU's process frees goes back to the system at once, so that a resident peak is what is in use
    and not what the C library keeps for later. That costs time: steps are timed outside, where glibc keeps buffers as
    it does by itself in a process that has freed large ones (`mallopt(3)`).
    """
    _libc("mallopt", _MMAP_THRESHOLD, 128 * 2**10)
    try:
        yield
    finally:
        _libc("mallopt", _MMAP_THRESHOLD, 32 * 2**20)
        _libc("mallopt", _TRIM_THRESHOLD, 64 * 2**20)


# of mallopt: from how many bytes on a buffer has pages of its own; how many free bytes the heap may keep at its end
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


def _libc(function: str, *arguments: int) -> None:
    """Call one of glibc's own functions; other C libraries (musl) have none of them."""
    call = getattr(ctypes.CDLL(None), function, None)
    if call is not None:
        call(*arguments)


def _status_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(found[1]) * 1024
