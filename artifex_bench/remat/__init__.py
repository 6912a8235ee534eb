"""Rematerialization: STRATEGIES and POLICIES by name, how they wrap layers, and the verdict on their effect."""
