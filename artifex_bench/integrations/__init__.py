"""Python functions that measure, and results of asv and pytest-benchmark as tables."""
