"""From options to a run spec, and from a run spec to records."""
