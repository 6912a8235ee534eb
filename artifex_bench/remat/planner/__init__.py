"""The planner: chooses which residuals each layer saves, so that a step meets the user's memory budget."""
