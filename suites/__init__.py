"""Benchmarks that asv and pytest-benchmark discover. The wheel does not have them; it has `artifex_bench.suites`."""
