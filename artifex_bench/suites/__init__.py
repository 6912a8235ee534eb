"""Suites: the cases of each, by preset. Data only."""
