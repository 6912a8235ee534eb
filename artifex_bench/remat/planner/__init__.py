"""Rematerialization to a memory budget: candidates, an exact choice among them, and a loop that meets the budget."""
