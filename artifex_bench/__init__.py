"""artifex_bench: what each checkpointing choice costs your JAX model, measured. Importing it imports no JAX."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifex_bench.integrations.asv_results import load_asv as load_asv
    from artifex_bench.integrations.benchmark import benchmark_checkpointing as benchmark_checkpointing
    from artifex_bench.integrations.pytest_benchmark_results import load_pytest_benchmark as load_pytest_benchmark
    from artifex_bench.remat.to_budget import remat_to_budget as remat_to_budget
    from artifex_bench.report.frame import load_run as load_run

__version__ = "0.2.0"  # pyproject.toml reads it from here, and a test compares CITATION.cff with it

_HOMES = {
    "benchmark_checkpointing": "artifex_bench.integrations.benchmark",
    "load_asv": "artifex_bench.integrations.asv_results",
    "load_pytest_benchmark": "artifex_bench.integrations.pytest_benchmark_results",
    "load_run": "artifex_bench.report.frame",
    "remat_to_budget": "artifex_bench.remat.to_budget",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public function when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'artifex_bench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
