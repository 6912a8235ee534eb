"""Plain `pytest` runs the tests and no benchmark; `pytest --benchmark-only` runs the suites and no test."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    other = "tests" if getattr(config.option, "benchmark_only", False) else "suites"
    return True if ROOT / other in (collection_path, *collection_path.parents) else None
