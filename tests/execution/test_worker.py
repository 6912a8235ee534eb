"""The worker: statuses and messages of jobs that fail or succeed."""

from __future__ import annotations

import errno

import jax
import pytest
from jax.errors import JaxRuntimeError

from artifex_bench.core.job import Job, SkipJob
from artifex_bench.core.record import Measurement
from artifex_bench.core.registry import KINDS, load_attribute, load_kind
from artifex_bench.execution import worker
from artifex_bench.remat.measure import stages
from tests.programs import case

EXHAUSTED = JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\n allocating 8 bytes")


def raised_from(error, cause):
    error.__cause__ = cause
    return error


NUMBER = Measurement("compile_seconds", "seconds", (1.5,), "wall clock")


@pytest.fixture
def outcome(monkeypatch):
    """(status, reason, messages) of a job that raises an error after its first measurement."""

    def run(error):
        def measure(job):
            yield NUMBER
            if error is not None:
                raise error

        monkeypatch.setattr(stages, "measure", measure)
        sent = []
        return (*worker._try_job(Job(case()), sent.append), sent)

    return run


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "ok", ""),
        (SkipJob("no host memory here"), "skipped", "no host memory here"),
        (MemoryError(), "oom", "MemoryError"),
        (EXHAUSTED, "oom", "allocating 8 bytes"),
        (raised_from(RuntimeError("the step"), EXHAUSTED), "oom", "the step"),
        (JaxRuntimeError("INTERNAL: Failed to load CUBIN: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), "oom", "CUBIN"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom", "Cannot allocate memory"),
        (ValueError("RESOURCE_EXHAUSTED: disk full"), "failed", "ValueError: RESOURCE_EXHAUSTED"),  # as Orbax has it
        (ValueError("the model is out of memory slots: MemoryError, bad_alloc"), "failed", "ValueError: the model"),
        (JaxRuntimeError("INTERNAL: CpuCallback error: ValueError: RESOURCE_EXHAUSTED: no"), "failed", "CpuCallback"),
        (JaxRuntimeError("INTERNAL: error in the model\nout of memory"), "failed", "out of memory"),
        (ValueError("two\nlines"), "failed", "ValueError: two lines"),
        (ZeroDivisionError(), "failed", "ZeroDivisionError"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt"),
        (SystemExit("a model that leaves"), "failed", "SystemExit: a model that leaves"),
    ],
)
def test_every_outcome_is_a_status_with_a_reason_and_keeps_the_measurements(outcome, error, status, reason):
    found, why, sent = outcome(error)
    assert found == status
    assert reason in why
    assert "\n" not in why
    assert sent[0]["environment"]["platform"] == "cpu"
    assert sent[1]["measurement"]["values"] == (1.5,)


def test_settings_that_a_model_changes_are_recorded(monkeypatch):
    def measure(job):
        jax.config.update("jax_default_matmul_precision", "highest")
        yield NUMBER

    monkeypatch.setattr(stages, "measure", measure)
    before, sent = jax.config.jax_default_matmul_precision, []
    try:
        worker.measure_job(Job(case()), sent.append)
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    first, last = sent[0]["environment"], sent[-1]["environment"]
    assert "JAX_DEFAULT_MATMUL_PRECISION" not in first["flags"]
    assert last["flags"] == {**first["flags"], "JAX_DEFAULT_MATMUL_PRECISION": "highest"}


def test_every_kind_of_case_has_a_function_that_measures_it():
    assert all(callable(load_attribute(load_kind(name).measure)) for name in KINDS)
