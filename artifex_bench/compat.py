"""Every use of a private or moving API of JAX, XLA, Orbax and Python, one function or class each.

"Both ends" means tested on jax 0.10.2 (Python 3.11) and jax 0.12.0.1 (Python 3.13). Where nothing else is said there is
no fallback: a version without the API fails with Python's own AttributeError or ImportError. Importing this module
warns once if JAX is outside the tested range.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from jax.extend import core, source_info_util
from packaging.version import Version

from artifex_bench.core.versions import CPU_KEEPS_RECOMPUTATION, REMAT3_SINCE, has_remat3, untested_jax

if (_untested := untested_jax()) is not None:
    warnings.warn(_untested, stacklevel=1)

T = TypeVar("T")
H = TypeVar("H")

# ---------------------------------------------------------------- programs: jaxprs and their equations

# `jax.extend.core.Literal`: an operand that carries its value. Tested on both ends.
Literal = core.Literal
# What `jax.make_jaxpr` returns: a `ClosedJaxpr` before jax 0.11.0, a `Jaxpr` that holds its constants from then on.
TracedProgram = Any
# The argument of `jax.checkpoint`: for all inputs, or from jax 0.12 on for each input.
PreventCse = bool | tuple[bool, ...]


def open_program(traced: TracedProgram) -> tuple[Any, Sequence[Any]]:
    """(program, constants) of a traced program, or of a program inside an equation.

    Before jax 0.11.0 a `ClosedJaxpr` wraps the program. Later versions keep `.jaxpr` as an alias that is marked for
    removal: without it, the program itself is taken.
    """
    return getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())


def live_program(traced: TracedProgram) -> Any:
    """The program without dead code (`partial_eval.dce_jaxpr`). Tested on both ends; no fallback (ImportError)."""
    from jax.interpreters import partial_eval

    program, _ = open_program(traced)
    live, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    return live


def scan_inputs(params: Mapping[str, Any]) -> tuple[int, int]:
    """(number of constants, number of carries) among the inputs of a scan equation with those parameters.

    `num_consts` and `num_carry` before jax 0.11.0; the tree `ft_in` from then on. Tested on both ends and 0.11.0.
    """
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


@dataclass(frozen=True)
class CheckpointCall:
    """A call under `jax.checkpoint`: the program inside, and whether its CSE is prevented (per input, or for all)."""

    program: TracedProgram
    prevent_cse: PreventCse


def checkpoint_call(eqn: Any) -> CheckpointCall | None:
    """The checkpoint call that an equation is, or None.

    Primitives `remat2` and `checkpoint` (both ends), and `RematTraced` under JAX_REMAT3 (0.12.0.1). A version that
    renames them again finds no checkpoint calls: `tests/test_compat.py` fails then.
    """
    if eqn.primitive.name in ("remat2", "checkpoint"):
        return CheckpointCall(eqn.params["jaxpr"], eqn.params["prevent_cse"])
    if _high_name(eqn) == "RematTraced":
        params = _parameters(eqn)
        return CheckpointCall(params["jaxpr"], params.get("prevent_cse", True))
    return None


def checkpoint_name(eqn: Any) -> str | None:
    """The name that an equation attaches to a value, or None.

    Primitive `name` (both ends), and `CheckpointName` and `CheckpointNameFwd` under JAX_REMAT3 (0.12.0.1).
    """
    attaches = eqn.primitive.name == "name" or _high_name(eqn) in ("CheckpointName", "CheckpointNameFwd")
    return _parameters(eqn)["name"] if attaches else None


def operation_name(eqn: Any) -> str:
    """The primitive of an equation by its name. Calls under `jax.checkpoint` are ``checkpoint``, names are ``name``."""
    if checkpoint_call(eqn) is not None:
        return "checkpoint"
    if checkpoint_name(eqn) is not None:
        return "name"
    return _high_name(eqn) or eqn.primitive.name


def _parameters(eqn: Any) -> Mapping[str, Any]:
    """The parameters of an equation, whether its primitive is of JAX's older kind or a `HiPrim` (0.12.0.1)."""
    return eqn.params["_prim"].params if _high_name(eqn) else eqn.params


def _high_name(eqn: Any) -> str:
    """The class of the `HiPrim` that an equation calls, or an empty string."""
    return type(eqn.params["_prim"]).__name__ if eqn.primitive.name == "call_hi_primitive" else ""


def inner_programs(eqn: Any) -> Iterator[Any]:
    """The programs inside an equation: of jit, scan, checkpoint, custom derivatives, and each branch of a cond."""
    for value in _parameters(eqn).values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner, _ = open_program(item)
            if hasattr(inner, "eqns"):
                yield inner


@contextmanager
def as_traced(eqn: Any) -> Iterator[None]:
    """Within, what is traced has the scopes, source line and settings of an equation. Tested on both ends."""
    names = source_info_util.current_name_stack() + eqn.source_info.name_stack
    with source_info_util.user_context(eqn.source_info.traceback, name_stack=names), eqn.ctx.manager:
        yield


def bind_again(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of an equation at other inputs. Tested on both ends."""
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def source_line(eqn: Any) -> str:
    """``/path/file.py:12 (function)``, the user's line behind an equation. Both ends; no fallback."""
    return source_info_util.summarize(eqn.source_info)


def source_frames(eqn: Any) -> tuple[tuple[str, int], ...]:
    """(file, line) of every frame behind an equation, the innermost first; empty without a traceback. Both ends."""
    traceback = eqn.source_info.traceback
    return tuple((frame.file_name, frame.line_num) for frame in traceback.frames) if traceback else ()


def scopes(eqn: Any) -> str:
    """The named scopes around an equation, joined by slashes. Both ends; no fallback."""
    return str(eqn.source_info.name_stack)


def called_program(eqn: Any) -> TracedProgram | None:
    """The program that an equation calls as it is (a jit, or a call that JAX itself puts in), or None.

    Custom derivatives are not among them: a traced derivative holds those that are not differentiated. `eval_jaxpr` is
    of jax 0.12. A call under another name stays an equation of its own.
    """
    if eqn.primitive.name not in ("jit", "pjit", "closed_call", "core_call", "eval_jaxpr"):
        return None
    return eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]


def policy_saves(policy: Callable[..., Any], eqn: Any) -> bool:
    """Whether a policy of the older `jax.checkpoint` saves what an equation gives. Both ends."""
    return bool(policy(eqn.primitive, *(var.aval for var in eqn.invars), **eqn.params))


def is_traced(value: Any) -> bool:
    """Whether a value is a tracer of a transformation that is under way (`jax.core.Tracer`; both ends)."""
    return isinstance(value, jax.core.Tracer)


# ---------------------------------------------------------------- rematerialization


def set_remat3(on: bool) -> None:
    """Choose JAX's new implementation of `jax.checkpoint` (JAX_REMAT3), or the older one, for this process.

    Tested on both ends.

    Raises:
        RuntimeError: This JAX has no such choice, or its new implementation was not tested.
    """
    if on and not has_remat3():
        raise RuntimeError(f"JAX_REMAT3 needs jax {REMAT3_SINCE} or later, not {jax.__version__}")
    if not hasattr(jax.config, "jax_remat3"):
        raise RuntimeError(f"jax {jax.__version__} has no jax_remat3 to choose an implementation of jax.checkpoint by")
    jax.config.update("jax_remat3", on)


def jax_settings() -> dict[str, Any]:
    """All of JAX's settings by name, such as ``jax_enable_x64``. `jax.config.values` is not documented. Both ends."""
    return dict(jax.config.values)


def remat3_is_on() -> bool:
    """Whether this process uses JAX's new implementation of `jax.checkpoint`."""
    return bool(getattr(jax.config, "jax_remat3", False))


@contextmanager
def classic_remat() -> Iterator[None]:
    """Within, `jax.checkpoint` and `checkpoint_name` mean their older implementation even under JAX_REMAT3.

    Plans name values inside derivatives, and save values of any operation: JAX_REMAT3 can do neither (0.12.0.1).
    Tested on both ends; where the flag does not exist nothing is changed.
    """
    from jax._src import config

    flag: Callable[[bool], AbstractContextManager[None]] = getattr(config, "remat3", lambda _: nullcontext())
    with flag(False):
        yield


def faithful_options(platform: str) -> dict[str, str | bool]:
    """The XLA options with which a platform keeps the recomputation that a program asks for.

    Before jax 0.11.1 XLA:CPU removes optimization barriers with the pass `cse_barrier_expander` and then merges the
    recomputation of unrolled layers away. Later versions, and the compilers of GPUs and TPUs, need no option.
    """
    undoes = platform == "cpu" and Version(jax.__version__) < CPU_KEEPS_RECOMPUTATION
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if undoes else {}


# ---------------------------------------------------------------- targets and checkpoints


def absent_gpus(count: int, description: str) -> tuple[Any, ...]:
    """NVIDIA GPUs of one host that this machine does not have, from XLA's description of one in text format.

    `jax.experimental.topologies`; both ends, with the CUDA 12 and the CUDA 13 compilers. Without a GPU JAX cannot tell
    which vendor's is meant (issue 23971 of jax-ml/jax), so `xla_bridge.canonicalize_platform` is replaced for this
    process. If either is missing, JAX's or Python's own error appears.
    """
    from jax._src import xla_bridge
    from jax.experimental import topologies

    canonical = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda platform: "cuda" if platform == "gpu" else canonical(platform)
    shape = f"1x1x{count}"  # slices, hosts per slice, devices per host
    topology = topologies.get_topology_desc(shape, "cuda", topology=shape, target_config=description)
    return tuple(topology.devices)


def absent_tpus(**topology: str) -> tuple[Any, ...]:
    """TPUs of a topology that this machine does not have (`jax.experimental.topologies`; both ends; no fallback)."""
    from jax.experimental import topologies

    return tuple(topologies.get_topology_desc(platform="tpu", **topology).devices)


def commit_future(writing: Coroutine[Any, Any, None], name: str) -> Any:
    """Orbax's future of a handler that writes in the background, so that the commit waits for it (orbax 0.12.8)."""
    from orbax.checkpoint import future

    return future.CommitFutureAwaitingContractedSignals(writing, name=name)


def settle_failed_save(manager: Any) -> None:
    """Wait until Orbax writes nothing more of a save that failed, and forget what else failed in it (orbax 0.12.8).

    Orbax raises a failure of the metadata while its threads still write the arrays, and would raise a failure of theirs
    as that of the next save.
    """
    for _ in ("the arrays", "the metadata"):
        with suppress(Exception):
            manager._wait_for_checkpointers()


def before_threads_stop(call: Callable[[], None]) -> None:
    """Call at the end of the program, while pools of threads still take work: `atexit` runs after they stopped.

    Python's own seam for its pools (3.11 to 3.14); `atexit` where it is missing.
    """
    getattr(threading, "_register_atexit", atexit.register)(call)


@functools.cache
def finish_failed_reads() -> None:
    """From now on let a failed Orbax call in this process end only when the reads are done that it had under way.

    Orbax closes its event loop at the first error. TensorStore then reports the other reads to a closed loop,
    from threads of its own: "Event loop is closed" for each, on standard error. `asyncio_utils.run_sync` is what runs
    every call; tested on orbax 0.12.8. A version without it is left as it is.
    """
    from orbax.checkpoint._src import asyncio_utils

    run_sync = getattr(asyncio_utils, "run_sync", None)
    if run_sync is not None:
        asyncio_utils.run_sync = lambda coroutine: run_sync(_to_the_end(coroutine))


def finish_reads_of(handler: H) -> H:
    """As `finish_failed_reads`, for one Orbax handler of trees alone; gives the handler.

    `_handler_impl` reads the arrays by `_maybe_deserialize`; tested on orbax 0.12.8. A version without them is left as
    it is.
    """
    reader = getattr(handler, "_handler_impl", None)
    read = getattr(reader, "_maybe_deserialize", None)
    if read is not None:
        vars(reader)["_maybe_deserialize"] = lambda *arguments: _to_the_end(read(*arguments))
    return handler


async def _to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises, once every task that it made is done: held here, for asyncio does not."""
    tasks: list[asyncio.Task[Any]] = []

    def held(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.Task(coroutine, loop=loop, **how))
        return tasks[-1]

    asyncio.get_running_loop().set_task_factory(held)
    try:
        return await coroutine
    except BaseException:
        while under_way := [task for task in tasks if not task.done()]:
            await asyncio.wait(under_way)
        for task in tasks:
            task.cancelled() or task.exception()  # else asyncio prints those that nobody asked for
        raise


# ---------------------------------------------------------------- XLA's protocol buffers


def buffer_assignment(compiled: Any) -> tuple[bytes, bytes] | None:
    """(buffer assignment, program) that a compiled step serializes as XLA's messages, or None where it tells none."""
    assignment = getattr(compiled.memory_analysis(), "serialized_buffer_assignment_proto", None)
    if not assignment:
        return None
    return assignment, compiled.runtime_executable().hlo_modules()[0].as_serialized_hlo_module_proto()


# XLA's own messages (`buffer_assignment.proto`, `hlo.proto`), which no package installs: of each, the fields used here.
# Message -> field -> (number, type). A star repeats the field; a capital names another message. Both ends.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Assignment": {
        "logical_buffers": (1, "Logical*"),
        "buffer_aliases": (2, "Alias*"),
        "buffer_allocations": (3, "Allocation*"),
    },
    "Logical": {"id": (1, "int64"), "size": (2, "int64"), "defined_at": (3, "Location")},
    "Location": {"shape_index": (3, "int64*"), "instruction_id": (4, "int64")},
    "Alias": {"source_buffer_id": (1, "int64"), "location": (2, "Location")},
    "Allocation": {
        "size": (2, "int64"),
        "is_thread_local": (3, "bool"),
        "is_entry_computation_parameter": (5, "bool"),
        "parameter_number": (6, "int64"),
        "maybe_live_out": (7, "bool"),
        "assigned": (9, "Assigned*"),
        "is_constant": (12, "bool"),
    },
    "Assigned": {"logical_buffer_id": (1, "int64"), "offset": (2, "int64"), "size": (3, "int64")},
    "Module": {
        "computations": (3, "Computation*"),
        "entry_computation_id": (6, "int64"),
        "schedule": (7, "Schedule"),
        "stack_frame_index": (17, "Frames"),
    },
    "Computation": {"instructions": (2, "Instruction*"), "id": (5, "int64"), "root_id": (6, "int64")},
    "Instruction": {
        "name": (1, "string"),
        "opcode": (2, "string"),
        "shape": (3, "Shape"),
        "metadata": (7, "Metadata"),
        "parameter_number": (9, "int64"),
        "tuple_index": (13, "int64"),
        "id": (35, "int64"),
        "operand_ids": (36, "int64*"),
        "called_computation_ids": (38, "int64*"),
    },
    "Shape": {"element_type": (2, "int64"), "dimensions": (3, "int64*"), "tuple_shapes": (4, "Shape*")},
    "Metadata": {
        "op_name": (2, "string"),
        "source_file": (3, "string"),
        "source_line": (4, "int64"),
        "stack_frame_id": (15, "int64"),
    },
    "Schedule": {"sequences": (1, "SequenceEntry*")},
    "SequenceEntry": {"key": (1, "int64"), "value": (2, "Sequence")},
    "Sequence": {"instruction_ids": (1, "int64*")},
    "Frames": {
        "file_names": (1, "string*"),
        "file_locations": (3, "FileLocation*"),
        "stack_frames": (4, "Frame*"),
    },
    "FileLocation": {"file_name_id": (1, "int64"), "line": (3, "int64")},
    "Frame": {"file_location_id": (1, "int64"), "parent_frame_id": (2, "int64")},
}


def xla_message(name: str) -> Any:
    """The class of one of XLA's messages, to parse what a compiled program serializes."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"artifex_bench.{name}"))


@functools.cache
def _pool() -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="assignment.proto", package="artifex_bench", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.endswith("*"), kind.removesuffix("*")
            one = message.field.add(name=field, number=number)
            one.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".artifex_bench.{kind}"
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
