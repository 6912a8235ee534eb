"""Saving, restoring and damaging training states: what the suites checkpoint and fault measure."""
