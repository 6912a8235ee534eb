"""Saving, restoring and damaging checkpoints: what the suites checkpoint and fault measure."""
