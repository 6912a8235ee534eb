"""A run as one HTML page that opens from disk: recommendation, plots, table, environment, downloads."""
