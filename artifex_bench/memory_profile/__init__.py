"""What a program's memory holds: buffers at the compiled peak, residuals, a timeline."""
