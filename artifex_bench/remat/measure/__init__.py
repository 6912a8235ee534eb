"""Measurement of one case in a fresh process: stages of its program, and the probes that read their results."""
