"""The process of a worker: thread priority and skipped imports."""
