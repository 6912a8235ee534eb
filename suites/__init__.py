"""Benchmarks for asv and pytest-benchmark to discover. They are not installed: the cases are `artifex_bench.suites`."""
