"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Few examples and no deadline: the suite proves the same on a busy machine, only later.
settings.register_profile("lean", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lean")
