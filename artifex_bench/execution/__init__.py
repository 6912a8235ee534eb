"""Execution: executors run jobs in fresh processes and return their records."""
