"""Advice: what to choose from a run's figures, as data, and the words for it."""
