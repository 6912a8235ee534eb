"""Data without JAX or pandas: cases, jobs, records, the store, statistics and units."""
