"""Reports: tables and plots, drawn from records alone."""
