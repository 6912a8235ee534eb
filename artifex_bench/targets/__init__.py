"""Targets: where a case is compiled and perhaps run."""
