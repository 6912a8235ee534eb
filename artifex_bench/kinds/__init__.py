"""Kinds of cases: what suites, the command line, jobs and reports know of each (core/kind.py)."""
