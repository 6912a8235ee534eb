"""Published numbers held against a run's: which claims, what the records say, and why they differ where they do."""
