"""Restores from damaged files, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RESTORES = """
from artifex_bench.core.case import FaultCase
from artifex_bench.checkpoint_io import corruption
from artifex_bench.core.job import Job
for form in ("orbax", "orbax-v1"):
    counts = {one.probe: one.values[0] for one in corruption.measure(Job(FaultCase(form, "truncate", trials=10)))}
    print(counts["detected_trials"], sum(counts.values()))
"""


@pytest.mark.timeout(300)
def test_failed_restores_print_nothing_of_unfinished_reads():
    how = {"env": {**os.environ, "JAX_PLATFORMS": "cpu"}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", RESTORES], **how)
    assert done.returncode == 0, done.stderr
    counts = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(counts) == 2 and all(detected > 2 and total == 10 for detected, total in counts)
    for words in ("Event loop is closed", "never retrieved", "Exception ignored", "was destroyed"):
        assert words not in done.stderr
