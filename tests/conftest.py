"""Settings and fixtures that all tests share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from artifex_bench.execution.executors import EXECUTORS, Executor
from tests.build import backend

# Few examples, and no deadline, because a busy machine is slow.
settings.register_profile("lean", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lean")


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that parallel processes end together."""
    items.sort(key=lambda item: item.path.name not in ("test_end_to_end.py", "test_sharding.py"))


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """Handle SIGINT: a shell's background job ignores it, and so would the processes that tests interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fake(monkeypatch):
    """Replace the local executor by one that measures nothing. The value sets its statuses and returns its log."""
    log: list[str] = []

    def put(statuses=None, measure=None):
        monkeypatch.setitem(EXECUTORS, "local", Executor("fake", measure or backend(log, statuses)))
        return log

    put()
    return put


@pytest.fixture
def choose_remat3():
    """Set JAX's implementation of `jax.checkpoint` for a test, and restore it afterwards."""
    from artifex_bench import compat

    before = compat.remat3_is_on()
    yield compat.set_remat3
    compat.set_remat3(before)
