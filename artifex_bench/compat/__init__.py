"""Every use of a private or moving API of JAX, XLA, Orbax and Python: one file per library, one function per use.

Each file names the versions it was tested on, and each function its fallback. Without a stated fallback, a version that
lacks the API fails with Python's own AttributeError or ImportError. Importing this package warns once if the installed
JAX is outside the tested range.
"""

from __future__ import annotations

import warnings

from artifex_bench.compat.jax_programs import (
    CheckpointCall,
    Literal,
    PreventCse,
    TracedProgram,
    as_traced,
    bind_again,
    called_program,
    checkpoint_call,
    checkpoint_name,
    inner_programs,
    is_traced,
    live_program,
    open_program,
    operation_name,
    policy_saves,
    scan_inputs,
    scope_path,
    source_frames,
    source_line,
)
from artifex_bench.compat.jax_settings import (
    aot_gpus,
    aot_tpus,
    classic_remat,
    faithful_options,
    jax_settings,
    remat3_is_on,
    set_remat3,
)
from artifex_bench.compat.orbax import commit_future, finish_failed_reads, finish_reads_of, settle_failed_save
from artifex_bench.compat.python import before_threads_stop
from artifex_bench.compat.xla_messages import buffer_assignment, xla_message
from artifex_bench.core.versions import untested_jax

__all__ = [
    "CheckpointCall",
    "Literal",
    "PreventCse",
    "TracedProgram",
    "aot_gpus",
    "aot_tpus",
    "as_traced",
    "before_threads_stop",
    "bind_again",
    "buffer_assignment",
    "called_program",
    "checkpoint_call",
    "checkpoint_name",
    "classic_remat",
    "commit_future",
    "faithful_options",
    "finish_failed_reads",
    "finish_reads_of",
    "inner_programs",
    "is_traced",
    "jax_settings",
    "live_program",
    "open_program",
    "operation_name",
    "policy_saves",
    "remat3_is_on",
    "scan_inputs",
    "scope_path",
    "set_remat3",
    "settle_failed_save",
    "source_frames",
    "source_line",
    "xla_message",
]

if (_untested := untested_jax()) is not None:
    warnings.warn(_untested, stacklevel=1)
