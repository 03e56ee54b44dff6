"""Settings of worker processes: thread priority and skipped imports."""
