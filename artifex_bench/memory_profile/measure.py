"""A profile of one case: the buffers alive at its compiled peak, what autodiff saves, and a trace of its steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from artifex_bench import targets
from artifex_bench.compat import buffer_assignment, operation_name, scope_path, source_frames
from artifex_bench.core.case import RematCase
from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement
from artifex_bench.memory_profile import BUFFERS, LIVE, RESIDUALS, TRACE
from artifex_bench.memory_profile.attribution import (
    LOOP_CARRY,
    UNKNOWN,
    Origin,
    OriginFinder,
    find_user_line,
    split_path,
)
from artifex_bench.memory_profile.buffer_assignment import Allocation, Assignment, Slice, parse_assignment
from artifex_bench.memory_profile.liveness import (
    Life,
    Timeline,
    build_timeline,
    find_live_slices,
    join_lives,
    sum_lives,
    trace_live_bytes,
)
from artifex_bench.remat.measure import jaxprs
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.probes import take_probes
from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.stages import prepare_program, trace_program


def measure(job: Job) -> Iterator[Measurement]:
    """Profile a remat case on the local device.

    Args:
        job: Its `profile` is the folder that the trace goes into.

    Yields:
        The measurements that any job of the case takes before it runs, then the residuals, the buffers at the peak, the
        live bytes and the trace. Each of the latter is one measurement: its values are bytes, and its detail describes
        them.
    """
    assert isinstance(job.case, RematCase) and job.profile is not None
    target = targets.load_target(job.case.target)
    program, planned = prepare_program(job, target)
    if planned is not None:
        yield from take_probes("planned", planned)
    yield from take_probes("traced", trace_program(program))
    yield _measure_residuals(program)
    compiled = compile_step(program, target)
    assert compiled.step is not None  # the local compiler raises where it cannot compile
    yield from take_probes("compiled", compiled)
    yield from _measure_buffers(compiled.step, compiled.peak)
    yield _trace_steps(program, compiled.step, job.steps, Path(job.profile))


def _measure_residuals(program: Program) -> Measurement:
    state, batch = program.eval_shapes()
    residuals = jaxprs.find_residuals(program.loss, state["params"], state["rest"], batch)
    if not residuals:
        return Measurement(RESIDUALS, "bytes", note="autodiff saves nothing but arguments")
    rows = sorted(map(describe_residual, residuals), key=lambda row: -row["bytes"])
    return Measurement(RESIDUALS, "bytes", tuple(row["bytes"] for row in rows), "jaxpr", detail={"rows": rows})


def describe_residual(residual: jaxprs.Residual) -> dict[str, Any]:
    """Return {bytes, shape, dtype, scope, operation, name, source} of a residual as plain JSON values."""
    row = {
        "bytes": residual.bytes,
        "shape": f"[{','.join(map(str, residual.aval.shape))}]",
        "dtype": str(residual.aval.dtype),
    }
    if not residual.equations:
        return {**row, "scope": "", "operation": UNKNOWN, "name": residual.name, "source": ""}
    names = filter(None, map(scope_path, residual.equations))
    scope, operation, _ = split_path("/".join([*names, operation_name(residual.equations[-1])]))
    # the lines of a jitted library function are its own, and the call's line is the user's
    lines = (find_user_line(source_frames(equation)) for equation in reversed(residual.equations))
    source = next(filter(None, lines), "")
    return {**row, "scope": scope, "operation": operation or LOOP_CARRY, "name": residual.name, "source": source}


def _measure_buffers(step: Any, peak: int) -> Iterator[Measurement]:
    """Yield the buffers at the peak and the live bytes of a compiled step; notes if the compiler reports neither."""
    serialized = buffer_assignment(step)
    try:
        if serialized is None:
            raise ValueError("the compiler does not report its buffer assignment")
        rows, curve, detail = attribute_peak(parse_assignment(*serialized), peak)
    except ValueError as error:
        for probe in (BUFFERS, LIVE):
            yield Measurement(probe, "bytes", note=str(error))
        return
    source = "compiled.memory_analysis().serialized_buffer_assignment_proto"
    yield Measurement(BUFFERS, "bytes", tuple(row["bytes"] for row in rows), source, detail={"rows": rows})
    yield Measurement(LIVE, "bytes", tuple(curve), source, detail=detail)


def attribute_peak(assignment: Assignment, peak: int) -> tuple[list[dict[str, Any]], list[int], dict[str, Any]]:
    """Attribute the bytes of a compiled peak to buffers.

    Arguments and outputs occupy memory throughout. The peak is the moment at which most bytes of the temporaries are
    alive.

    Args:
        assignment: The program's buffer assignment.
        peak: The compiled peak in bytes.

    Returns:
        rows: {bytes} and the fields of an `Origin` for each buffer, largest first. They sum to `peak`. Two further rows
            may follow: bytes of temporaries that are reserved but not alive then, and a difference that remains
            (negative if the compiler counts less than the sum).
        curve: Bytes alive at each moment.
        detail: The moment of the peak and its instruction, the phase of each moment, and the lives of each buffer of
            the temporaries in the order in which they become alive.
    """
    timeline, origins = build_timeline(assignment), OriginFinder(assignment)
    temporaries = [one for one in assignment.allocations if one.kind == "temporary"]
    fixed = [one for one in assignment.allocations if one.kind in ("argument", "output")]
    lives = trace_live_bytes(temporaries, timeline)
    alive = sum_lives(itertools.chain.from_iterable(lives.values()), len(timeline.order))
    moment = alive.index(max(alive))
    parts = [Slice(_find_owner(one, assignment, timeline), 0, one.size) for one in fixed]
    parts += [part for one in temporaries for part in find_live_slices(one, timeline, moment)]
    rows = [{"bytes": part.size, **dataclasses.asdict(origins.find_origin(part.value))} for part in parts]
    rows.sort(key=lambda row: -row["bytes"])
    reserved = sum(one.size for one in temporaries) - alive[moment]
    rest = peak - sum(row["bytes"] for row in rows) - reserved
    for operation, size in (("reserved, not alive at the peak", reserved), (UNKNOWN, rest)):
        if size:
            rows.append({"bytes": size, **dataclasses.asdict(Origin("", operation, "", "", ""))})
    throughout = sum(one.size for one in fixed)
    at = assignment.instructions[timeline.order[moment]]
    scope, operation, phase = split_path(at.operation)
    source = find_user_line(at.source)
    detail = {
        "moment": moment,
        "throughout_bytes": throughout,
        "peak_bytes": peak,
        "at": {"scope": scope, "operation": operation or at.opcode, "phase": phase, "source": source},
        "buffers": list_buffers(assignment, temporaries, lives, origins),
        "phases": [split_path(assignment.instructions[number].operation)[2] for number in timeline.order],
    }
    return rows, [throughout + size for size in alive], detail


def list_buffers(
    assignment: Assignment, temporaries: Sequence[Allocation], lives: dict[int, list[Life]], origins: OriginFinder
) -> list[dict[str, Any]]:
    """Return {name, lives} and the fields of an `Origin` for each buffer, in the order in which they become alive.

    Values of one origin that take turns in one place are one buffer: what a loop is given, carries and returns. Its
    name is that of the value that is alive longest.
    """
    buffers: dict[tuple[Any, ...], list[int]] = {}
    for number, allocation in enumerate(temporaries):
        for part in allocation.slices:
            if part.value in lives:
                place = (number, part.offset, part.size)
                buffers.setdefault((place, origins.find_origin(part.value)), []).append(part.value)
    rows = []
    for (_, origin), values in buffers.items():
        longest = max(values, key=lambda value: sum(life.last - life.first + 1 for life in lives[value]))
        together = join_lives([life for value in values for life in lives[value]])
        rows.append(
            {
                "name": name_value(assignment, longest),
                **dataclasses.asdict(origin),
                "lives": [list(life) for life in together],
            }
        )
    return sorted(rows, key=lambda row: row["lives"])


def name_value(assignment: Assignment, number: int) -> str:
    """Return XLA's name of the value with that id, as in its dumps: ``fusion.12`` or ``while.3{0}``."""
    instruction, index = assignment.values[number].position
    return assignment.instructions[instruction].name + (f"{{{','.join(map(str, index))}}}" if index else "")


def _find_owner(allocation: Allocation, assignment: Assignment, timeline: Timeline) -> int:
    """Return the value that an allocation is made for: the argument or output itself. Others may reuse its memory."""

    def is_owner(value: int) -> bool:
        at = assignment.instructions[assignment.values[value].position[0]]
        if allocation.kind == "argument":
            return at.opcode == "parameter" and at.computation == assignment.entry
        return timeline.is_alive(value, len(timeline.order))  # returned

    values = [part.value for part in allocation.slices]
    return next(filter(is_owner, values), values[0])


def _trace_steps(program: Program, compiled: Any, steps: int, folder: Path) -> Measurement:
    """Run one step, then `steps` more under JAX's profiler, which writes the files of XProf and Perfetto."""
    if not steps:
        return Measurement(TRACE, "bytes", note="compile only: no steps were asked for")
    state, batch = jax.block_until_ready(program.make_arrays())

    def run_step(state: Any) -> Any:
        result = jax.block_until_ready(compiled(state, batch))
        return result[0] if program.donated else state

    state = run_step(state)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's calls would hide the operations of the step
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        for number in range(steps):
            with jax.profiler.StepTraceAnnotation(program.timed.__name__, step_num=number):
                state = run_step(state)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {"rows": [str(path.relative_to(folder)) for path in files]}
    return Measurement(TRACE, "bytes", tuple(path.stat().st_size for path in files), "jax.profiler", detail=names)
