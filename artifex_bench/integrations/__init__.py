"""Other ways in: asv, pytest-benchmark, Python scripts."""
