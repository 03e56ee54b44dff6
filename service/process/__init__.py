"""Properties of worker processes: priority of compute threads, and skipped imports."""
