"""Settings that every test shares."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from artifex_bench.execution.executors import EXECUTORS, Executor
from tests.build import backend

# Few examples and no deadline: the suite proves the same on a busy machine, only later.
settings.register_profile("lean", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lean")


def pytest_collection_modifyitems(items):
    """The long ones first: so two processes (-n 2) end together."""
    items.sort(key=lambda item: item.path.name not in ("test_end_to_end.py", "test_sharding.py"))


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """A shell's background job ignores SIGINT, and so would the processes that the tests interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fake(monkeypatch):
    """Replace the local executor by one that measures nothing. Returns its log."""
    log: list[str] = []

    def put(statuses=None, measure=None):
        monkeypatch.setitem(EXECUTORS, "local", Executor("fake", measure or backend(log, statuses)))
        return log

    put()
    return put


@pytest.fixture
def choose_remat3():
    """Chooses JAX's implementation of `jax.checkpoint` for a test; afterwards it is the one that it was."""
    from artifex_bench import compat

    before = compat.remat3_is_on()
    yield compat.set_remat3
    compat.set_remat3(before)
