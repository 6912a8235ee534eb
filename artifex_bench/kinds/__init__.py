"""Kinds of cases: everything that suites, the command line, jobs and reports know about each (core/kind.py)."""
