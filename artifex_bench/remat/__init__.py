"""Rematerialization: STRATEGIES and POLICIES by name, how they wrap layers, and what they really did."""
