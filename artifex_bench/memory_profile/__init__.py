"""What a program's memory holds: buffers at the compiled peak, residuals, a timeline."""

# the probes of a profile
BUFFERS, RESIDUALS, LIVE, TRACE = "peak_buffers", "saved_residuals", "live_bytes", "trace_files"
