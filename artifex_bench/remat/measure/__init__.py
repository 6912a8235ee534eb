"""Measurement: a case in, phases of a compiled program, probes, one record out; in a process of its own."""
