"""A profile of one case: the buffers alive at its compiled peak, what autodiff saves, and a trace of its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from artifex_bench import targets
from artifex_bench.compat import buffer_assignment, operation_name, scope_path, source_frames
from artifex_bench.core.case import RematCase
from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement
from artifex_bench.memory_profile.attribution import UNKNOWN, Origin, Origins, line, split
from artifex_bench.memory_profile.buffer_assignment import Allocation, Assignment, Slice, read
from artifex_bench.memory_profile.liveness import Timeline, held, live_bytes, timeline
from artifex_bench.remat.measure import jaxprs
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.probes import take_probes
from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.stages import prepare_program, trace_program

BUFFERS, RESIDUALS, LIVE, TRACE = "peak_buffers", "saved_residuals", "live_bytes", "trace_files"


def measure(job: Job) -> Iterator[Measurement]:
    """The program's own numbers, as any job takes them, then the buffers, the residuals and the trace.

    Each of the latter is one measurement whose values are bytes, with a description of each in its detail.
    """
    assert isinstance(job.case, RematCase) and job.profile is not None
    target = targets.load_target(job.case.target)
    program, planned = prepare_program(job, target)
    if planned is not None:
        yield from take_probes("planned", planned)
    yield from take_probes("traced", trace_program(program))
    yield _residuals(program)
    compiled = compile_step(program, target)
    assert compiled.step is not None  # as it is of what is attached
    yield from take_probes("compiled", compiled)
    yield from _memory(compiled.step, compiled.peak)
    yield _trace(program, compiled.step, job.steps, Path(job.profile))


def _residuals(program: Program) -> Measurement:
    state, batch = program.eval_shapes()
    found = jaxprs.find_residuals(program.loss, state["params"], state["rest"], batch)
    if not found:
        return Measurement(RESIDUALS, "bytes", note="autodiff saves nothing but arguments")
    rows = sorted(map(describe_residual, found), key=lambda row: -row["bytes"])
    return Measurement(RESIDUALS, "bytes", tuple(row["bytes"] for row in rows), "jaxpr", detail={"rows": rows})


def describe_residual(residual: jaxprs.Residual) -> dict[str, Any]:
    """{bytes, shape, dtype, scope, operation, name, source} as plain JSON values."""
    row = {
        "bytes": residual.bytes,
        "shape": f"[{','.join(map(str, residual.aval.shape))}]",
        "dtype": str(residual.aval.dtype),
    }
    if not residual.equations:
        return {**row, "scope": "", "operation": UNKNOWN, "name": residual.name, "source": ""}
    names = filter(None, map(scope_path, residual.equations))
    scope, operation, _ = split("/".join([*names, operation_name(residual.equations[-1])]))
    # the lines of a jitted library function are its own: the call is the user's
    source = next(filter(None, map(_source, reversed(residual.equations))), "")
    return {**row, "scope": scope, "operation": operation or "carry of a loop", "name": residual.name, "source": source}


def _source(equation: Any) -> str:
    return line(source_frames(equation))


def _memory(step: Any, peak: int) -> Iterator[Measurement]:
    """The buffers at the peak and the bytes alive over the program, where the compiler tells its assignment."""
    serialized = buffer_assignment(step)
    try:
        if serialized is None:
            raise ValueError("this compiler does not tell its buffer assignment")
        rows, curve, detail = attribute(read(*serialized), peak)
    except ValueError as error:
        for name in (BUFFERS, LIVE):
            yield Measurement(name, "bytes", note=str(error))
        return
    source = "compiled.memory_analysis().serialized_buffer_assignment_proto"
    yield Measurement(BUFFERS, "bytes", tuple(row["bytes"] for row in rows), source, detail={"rows": rows})
    yield Measurement(LIVE, "bytes", tuple(curve), source, detail=detail)


def attribute(assignment: Assignment, peak: int) -> tuple[list[dict[str, Any]], list[int], dict[str, Any]]:
    """(rows, curve, detail): what `peak` bytes are made of; bytes alive at each moment; where the peak is, and why.

    Arguments and outputs are there throughout; the peak is the moment when most bytes of the temporaries are alive.
    Rows sum to `peak`: what the temporaries reserve beyond what is alive then is a row, and so is a difference that
    remains (negative where the compiler counts less than all of them).
    """
    time, origins = timeline(assignment), Origins(assignment)
    temporaries = [one for one in assignment.allocations if one.kind == "temporary"]
    fixed = [one for one in assignment.allocations if one.kind in ("argument", "output")]
    alive = live_bytes(temporaries, time)
    moment = alive.index(max(alive))
    parts = [Slice(_owner(one, assignment, time), 0, one.size) for one in fixed]
    parts += [part for one in temporaries for part in held(one, time, moment)]
    rows = [{"bytes": part.size, **dataclasses.asdict(origins.of(part.value))} for part in parts]
    rows.sort(key=lambda row: -row["bytes"])
    reserved = sum(one.size for one in temporaries) - alive[moment]
    rest = peak - sum(row["bytes"] for row in rows) - reserved
    for what, size in (("reserved, not alive at the peak", reserved), (UNKNOWN, rest)):
        if size:
            rows.append({"bytes": size, **dataclasses.asdict(Origin("", what, "", "", ""))})
    throughout = sum(one.size for one in fixed)
    at = assignment.instructions[time.order[moment]]
    scope, operation, phase = split(at.operation)
    detail = {
        "moment": moment,
        "throughout_bytes": throughout,
        "peak_bytes": peak,
        "at": {"scope": scope, "operation": operation or at.opcode, "phase": phase, "source": line(at.source)},
        "phases": [split(assignment.instructions[one].operation)[2] for one in time.order],
    }
    return rows, [throughout + size for size in alive], detail


def _owner(allocation: Allocation, assignment: Assignment, time: Timeline) -> int:
    """The value that an argument's or output's memory is there for; others may use it before or after."""

    def for_it(value: int) -> bool:
        at = assignment.instructions[assignment.values[value].position[0]]
        if allocation.kind == "argument":
            return at.opcode == "parameter" and at.computation == assignment.entry
        return time.alive(value, len(time.order))  # returned

    values = [part.value for part in allocation.slices]
    return next(filter(for_it, values), values[0])


def _trace(program: Program, compiled: Any, steps: int, folder: Path) -> Measurement:
    """Run a step unseen, then `steps` under JAX's profiler: what XProf and Perfetto open is in the folder."""
    if not steps:
        return Measurement(TRACE, "bytes", note="compile only: no steps were asked for")
    state, batch = jax.block_until_ready(program.make_arrays())

    def step(state: Any) -> Any:
        result = jax.block_until_ready(compiled(state, batch))
        return result[0] if program.donated else state

    state = step(state)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # what Python calls to hand a step over hides what the step does
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        for number in range(steps):
            with jax.profiler.StepTraceAnnotation(program.timed.__name__, step_num=number):
                state = step(state)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {"rows": [str(path.relative_to(folder)) for path in files]}
    return Measurement(TRACE, "bytes", tuple(path.stat().st_size for path in files), "jax.profiler", detail=names)
